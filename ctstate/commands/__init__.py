"""The command line: each verb parses its arguments, calls one function of the library and prints what it did."""

import contextlib
import io
import os
import sys
from typing import NoReturn

from ctstate.commands.root import cli
from ctstate.errors import CtstateError, UsageError

__all__ = ["cli", "main"]

FAILED, WRONG_CALL, RUN_ME_AGAIN = 1, 2, 75

LONGEST_MESSAGE = 500
"""What is longer is not read; its end, which says what to do, is kept."""


def main() -> NoReturn:
    """Run the command line; every error that a user can meet is one line, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A site's name that the terminal cannot show is shown as what it can.
            stream.reconfigure(errors="backslashreplace")
    code = _run()
    try:
        sys.stdout.flush()
    except OSError as error:
        # A full disk, or a reader (`| head`) that has gone: nothing more can be said there, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            _complain(f"what was to be printed could not be: {error.strerror or error}")
        code = code or FAILED
    sys.exit(code)


def _run() -> int:
    """Run the command line; return the exit code."""
    import click

    try:
        code = cli.main(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        return FAILED
    except click.exceptions.Exit as error:
        return error.exit_code
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else FAILED if error.code else 0
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":  # of click 8.2 and later
            error.show()
        elif context is not None:
            _complain(f"{error.format_message().rstrip('.')} (see `{context.command_path} --help`)")
        else:
            _complain(error.format_message())
        return error.exit_code
    except UsageError as error:
        _complain(str(error))
        return WRONG_CALL
    except CtstateError as error:
        _complain(str(error))
        return FAILED
    except UnicodeEncodeError as error:
        _complain(f"{str(error.object)!a} is not text in this system's encoding")
        return WRONG_CALL
    except BrokenPipeError:
        return FAILED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _complain(f"{place}{error.strerror or error}")
        return FAILED
    except Exception as error:  # noqa: BLE001 - the last net: a user never sees a traceback
        _complain(_bug(error))
        return FAILED


def _bug(error: Exception) -> str:
    """Keep the details of an error that nobody foresaw; return the line for the user."""
    import tempfile
    import traceback

    from ctstate import __version__

    what = f"{type(error).__name__}: {error}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="ctstate-bug-", suffix=".txt", delete=False, errors="replace"
        ) as file:
            file.write(f"ctstate {__version__}, Python {sys.version}\n{sys.argv[:2]}\n\n")
            traceback.print_exception(error, file=file)
    except OSError:
        return f"this is a bug in ctstate ({what[:200]}); please report it"
    return f"this is a bug in ctstate ({what[:200]}); the details are in {file.name}, please report it"


def _complain(message: str) -> None:
    """Print an error in one line, not too long, whatever a file or server has put into it."""
    import click

    # Names that are no text in this system's encoding come as halves of characters: as what they are in UTF-8.
    with contextlib.suppress(UnicodeEncodeError):
        message = message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    shown = " ".join("".join(letter if letter.isprintable() else " " for letter in message).split())
    if len(shown) > LONGEST_MESSAGE:
        shown = f"{shown[: LONGEST_MESSAGE - 205]} ... {shown[-200:]}"
    click.echo(f"Error: {shown}", err=True)
