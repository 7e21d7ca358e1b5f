"""ctstate serve"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from ctstate.commands.root import Places
from ctstate.commands.shared import places

PORT = click.IntRange(0, 65535)

_DOORMAT = """<!doctype html>
<meta charset="utf-8"><title>ctstate</title><meta http-equiv="refresh" content="0; url={address}">
<a href="{address}">To the page</a>
"""


@click.command()
@click.option("--port", type=PORT, default=8765, show_default=True, help="Port on 127.0.0.1; 0 for a free one.")
@click.option(
    "--tunnel-port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Port of your own machine, where `ssh -L` leads here from another one than --port.",
)
@click.option("--no-open", is_flag=True, help="Open no browser.")
@places
def serve(where: Places, port: int, tunnel_port: int | None, no_open: bool) -> None:
    """Show the ledger in a browser, live and read-only, until Ctrl-C.

    It prints an address that opens once, in the browser that is to show it; nobody else on this machine can look.
    From your own machine: ssh -L 8765:127.0.0.1:8765 LOGIN_NODE, then open the address there. See docs/live.md.

    \b
    Example:
      ctstate serve --port 8765
    """
    from ctstate.verbs.serve import serve as run

    with where.open(read_only=True) as ledger, _browser(wanted=not no_open) as open_in_browser:

        def ready(address: str) -> None:
            click.echo(f"Ledger {ledger.name}, for your eyes only, once: {address}")
            click.echo("Ctrl-C stops it.")
            open_in_browser(address)

        run(ledger, port=port, tunnel_port=tunnel_port, on_ready=ready)
    click.echo("Stopped.")


@contextlib.contextmanager
def _browser(*, wanted: bool) -> Iterator[Callable[[str], None]]:
    """Give a function that opens an address, where there is a screen.

    The address goes through a file that only this user can read: what stands in a command line, all users see.
    """
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not wanted or not screen or os.environ.get("SSH_CONNECTION"):
        yield lambda _: None
        return
    import webbrowser

    with tempfile.TemporaryDirectory(prefix="ctstate-serve-") as folder:
        doormat = Path(folder) / "open.html"

        def open_it(address: str) -> None:
            doormat.write_text(_DOORMAT.format(address=address), encoding="utf-8")
            webbrowser.open(doormat.as_uri())

        yield open_it
