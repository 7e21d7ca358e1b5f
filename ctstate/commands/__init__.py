"""The command line: each verb parses its arguments, calls one function of the library and prints what it did."""

from __future__ import annotations

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

    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        code = FAILED
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except UsageError as error:
        click.echo(f"Error: {error}", err=True)
        code = WRONG_CALL
    except CtstateError as error:
        click.echo(f"Error: {error}", err=True)
        code = FAILED
    except BrokenPipeError:
        # The reader (`| head`) has gone: nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {place}{error.strerror or error}", err=True)
        code = FAILED
    sys.exit(code if isinstance(code, int) else 0)
