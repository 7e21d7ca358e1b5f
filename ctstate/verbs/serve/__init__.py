"""A live page over a ledger, to look at in a browser (`ctstate serve`): docs/live.md.

`visitors` says whose connections are taken, `door` who may come in, `app` what there is to see, `questions` what
SQL may do, `thumbnails` which files are shown.
"""

import os
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from ctstate.errors import CtstateError
from ctstate.ledger import Ledger, live
from ctstate.verbs.reading import SharedReader
from ctstate.verbs.serve.app import LivePage
from ctstate.verbs.serve.door import ENTRANCE, Door, Key
from ctstate.verbs.serve.visitors import Visitor, Welcome

__all__ = ["serve"]

HOST = "127.0.0.1"

_BEHIND_OTHERS = 10
"""Workers of the same machine have the processor first."""

_AT_ONCE = 64
"""More requests than these at the same time are told to come again."""


def serve(
    ledger: Ledger, *, port: int = 0, tunnel_port: int | None = None, on_ready: Callable[[str], None]
) -> None:
    """Show a ledger on 127.0.0.1 until Ctrl-C (SIGINT) or SIGTERM, at a lower priority from then on.

    Args:
        ledger: open for reading only.
        port: to listen on; 0 for a free one.
        tunnel_port: the port by which a browser on another machine reaches it (`ssh -L`), if that is another one.
        on_ready: called with the address that opens once, when it answers.

    Raises:
        LedgerError: the ledger cannot be read.
        CtstateError: the port cannot be had.
    """
    with SharedReader(ledger) as reader, _listening(port) as sock:
        reader.ask("version", live.version)
        if (
            not reader.holds_up_writers
        ):  # else whoever waits for a reader would wait for one that waits for its turn
            os.nice(_BEHIND_OTHERS)
        port = int(sock.getsockname()[1])
        welcome = Welcome()
        key = Key(port, welcome)
        ports = {port, tunnel_port or port}
        hosts = {f"{name}:{one}" for name in (HOST, "localhost", "[::1]") for one in ports}
        door = Door(LivePage(ledger, reader).app(), key, hosts)
        config = uvicorn.Config(
            door,
            loop="asyncio",
            http=type("OfThisPage", (Visitor,), {"welcome": welcome}),
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_level="error",
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_AT_ONCE,
            timeout_graceful_shutdown=1,
        )
        address = f"http://{HOST}:{tunnel_port or port}{ENTRANCE}?token={key.token}"
        try:
            _Server(config, lambda: on_ready(address)).run(sockets=[sock])
        except KeyboardInterrupt:
            return


class _Server(uvicorn.Server):
    """uvicorn that says when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets=sockets)
        self._ready()


def _listening(port: int) -> socket.socket:
    # The protocol must be named: asyncio switches off delays (Nagle) only for sockets that say they are TCP.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
        sock.listen(128)
    except (OSError, OverflowError) as error:
        sock.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CtstateError(
            f"cannot listen on {HOST}:{port} ({reason}); --port names another, 0 a free one"
        ) from error
    return sock
