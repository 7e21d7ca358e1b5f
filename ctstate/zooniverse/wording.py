"""Other people's words (a server's, a library's) as one line for a person, without what is secret in them."""

import re

MOST_WORDS = 300
"""How many characters of the server's own words are worth a person's time."""


def one_line(text: str, most: int = MOST_WORDS) -> str:
    """Return a text of others' as one printable line, not too long."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def shown(url: str) -> str:
    """Return an address without what is secret in it: a password, a signature."""
    return one_line(re.sub(r"//[^/@]*@", "//", url.partition("?")[0]))


def without_secrets(text: str) -> str:
    """Take the passwords and signatures out of the addresses in a text."""
    return one_line(re.sub(r"(//)[^/@\s]*@|\?[^\s'\")]+", r"\1", text))


def plain(error: BaseException) -> str:
    """Return the innermost reason, which is what a person can use, without passwords and signatures."""
    reason = error
    while True:
        named = [getattr(reason, "reason", None), *reason.args]
        inner = next((cause for cause in named if isinstance(cause, Exception)), None)
        if inner is None:
            break
        reason = inner
    return without_secrets(str(reason).rpartition(": ")[2] or type(reason).__name__)


def is_number(text: str) -> bool:
    """Tell whether a text is a whole number in plain digits."""
    return text.isascii() and text.isdigit()  # `²` is a digit, too, and no number
