"""The command line: each verb parses its arguments, calls one function of the library and prints what it did."""

import io
import os
import sys
from typing import NoReturn

from ctstate.commands.root import cli
from ctstate.errors import CtstateError, UsageError

__all__ = ["cli", "main"]

FAILED, WRONG_CALL, RUN_ME_AGAIN = 1, 2, 75


def main() -> NoReturn:
    """Run the command line; every error that a user can meet is one line, never a traceback."""
    import click

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A site's name that the terminal cannot show is shown as what it can.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        code = FAILED
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":  # of click 8.2 and later
            error.show()
        elif context is not None:
            _complain(f"{error.format_message().rstrip('.')} (see `{context.command_path} --help`)")
        else:
            _complain(error.format_message())
        code = error.exit_code
    except UsageError as error:
        _complain(str(error))
        code = WRONG_CALL
    except CtstateError as error:
        _complain(str(error))
        code = FAILED
    except UnicodeEncodeError as error:
        _complain(f"{str(error.object)!a} is not text in this system's encoding")
        code = WRONG_CALL
    except BrokenPipeError:
        # The reader (`| head`) has gone: nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _complain(f"{place}{error.strerror or error}")
        code = FAILED
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str) -> None:
    """Print an error in one line, whatever a file or server has put into it."""
    import click

    shown = "".join(letter if letter.isprintable() else " " for letter in message)
    click.echo(f"Error: {' '.join(shown.split())}", err=True)
