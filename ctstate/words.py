"""How messages speak of numbers of things (`1 capture is`, `1,200 captures are`), and which texts are numbers."""

_ONE = {"are": "is", "were": "was", "have": "has", "do": "does"}
"""What one thing does; of any other verb it is the form with an s."""


def counted(number: int, noun: str, verb: str = "") -> str:
    """Return a number of things in words.

    Args:
        number: how many.
        noun: one of them; its last word grows a plural.
        verb: what many of them do (`are`, `stay`): it agrees.
    """
    words = f"{number:,} {noun if number == 1 else _many(noun)}"
    if not verb:
        return words
    first, space, rest = verb.partition(" ")
    return f"{words} {verb if number != 1 else _ONE.get(first, first + 's') + space + rest}"


def whole_number(text: str) -> int | None:
    """Return the whole number that a text spells in up to 15 plain digits; None where it is anything else.

    `str.isdigit` alone will not do: `²` is a digit, and no number; `int` reads the digits of every script, and is
    an error from 4,301 of them on; a ledger's integers end at 2**63.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def and_more(number: int, what: str = "more") -> str:
    """Return ` (and 7 more)`, for after the first of several; nothing where there are no others."""
    return f" (and {number:,} {what})" if number else ""


def _many(noun: str) -> str:
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def lasting(seconds: float) -> str:
    """Return how long something takes, in its two largest units: `2 d 4 h`, `3 min 20 s`, `40 s`."""
    whole = max(0, round(seconds))
    for size, unit, smaller, of in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size:,} {unit}" + (f" {rest} {of}" if rest else "")
    return f"{whole} s"


def rate(value: float) -> str:
    """Return a rate a second; a slow one with its first two digits, as nothing that moves is 0.00."""
    return f"{value:,.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 or not value else f"{value:.2g}"
