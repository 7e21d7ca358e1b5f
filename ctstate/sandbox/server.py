"""Running a sandbox on 127.0.0.1."""

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ctstate.errors import InputError, UsageError
from ctstate.sandbox.app import Sandbox, Scope
from ctstate.sandbox.blobs import Blobs
from ctstate.sandbox.faults import Plan
from ctstate.sandbox.process import SandboxProcess
from ctstate.sandbox.settings import SandboxSettings
from ctstate.sandbox.state import World

__all__ = ["SandboxProcess", "SandboxSettings", "read_plan", "serve"]

HOUSEKEEPING = 0.2
"""Seconds between two rounds of the background jobs."""

Ready = Callable[[dict[str, Any]], None]


class _Connections:
    """The open connections by the client's address, so that a fault can drop one."""

    def __init__(self) -> None:
        self._transports: dict[tuple[str, int], Any] = {}

    def protocol(self) -> type:
        """A protocol class whose connections are kept here."""
        transports = self._transports

        class Protocol(HttpToolsProtocol):
            """uvicorn's protocol, which says which connections there are."""

            peer: tuple[str, int] = ("", 0)

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.peer = transport.get_extra_info("peername") or ("", 0)
                transports[self.peer] = transport
                super().connection_made(transport)  # type: ignore[arg-type]

            def connection_lost(self, exc: Exception | None) -> None:
                transports.pop(self.peer, None)
                super().connection_lost(exc)

        return Protocol

    def hangup(self, scope: Scope, reset: bool) -> None:
        """Drop the request's connection: with a reset, or after what was already sent."""
        transport = self._transports.get(tuple(scope["client"]))
        if transport is None:
            return
        if not reset:
            transport.close()
            return
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


class _Server(uvicorn.Server):
    """uvicorn with the sandbox's background jobs."""

    def __init__(self, config: uvicorn.Config, world: World, parent: int, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._world = world
        self._parent = parent
        self._ready = ready
        self._jobs: asyncio.Task[None] | None = None

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets=sockets)
        self._jobs = asyncio.get_running_loop().create_task(self._keep_house())
        self._ready()

    async def shutdown(self, sockets: Any = None) -> None:
        if self._jobs is not None:
            self._jobs.cancel()
        await super().shutdown(sockets=sockets)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING)
            if self._parent and os.getppid() != self._parent:
                self.should_exit = True
                self.force_exit = True
            self._world.refresh_counters()
            self._world.remove_ghosts()
            self._world.delete_doomed()


def read_plan(path: str | Path) -> dict[str, Any]:
    """A fault plan from its file.

    Raises:
        InputError: it cannot be read, or is no fault plan.
    """
    try:
        plan: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(f"{path}: cannot read the fault plan ({e.strerror})") from e
    except (ValueError, RecursionError) as e:
        raise InputError(f"{path}: the fault plan is not JSON ({e})") from e
    try:
        Plan.parse(plan)
    except InputError as e:
        raise InputError(f"{path}: {e}") from e
    return plan


def _listen(host: str, port: int) -> socket.socket:
    # The protocol must be named: asyncio switches off delays (Nagle) only for sockets that say they are TCP.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as e:
        sock.close()
        reason = e.strerror if isinstance(e, OSError) else str(e)
        raise UsageError(f"cannot listen on {host}:{port}: {reason}") from e
    sock.listen(1024)
    return sock


def serve(
    directory: str | Path,
    settings: SandboxSettings | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    faults: dict[str, Any] | None = None,
    on_ready: Ready | None = None,
    parent: int = 0,
) -> None:
    """Run a sandbox until it is told to stop (SIGINT, SIGTERM).

    Args:
        directory: where its state is kept; made where it is not there.
        settings: how it behaves.
        host: address to listen on; only a loopback address is taken, as passwords and images go unencrypted.
        port: port to listen on; 0 for a free one.
        faults: a fault plan (see `ctstate.sandbox.faults`).
        on_ready: called once it answers, with `url`, `login`, `password`, `project_id`, `foreign_project_id` and
            `workflow_id`.
        parent: stop when this is no longer the parent process; 0 for never.

    Raises:
        UsageError: the port is taken, or the host is not this machine.
        InputError: the directory is in use or unusable, or the fault plan is wrong.
    """
    if not host.startswith("127.") and host != "localhost":
        raise UsageError(f"a sandbox listens on this machine only, not on {host}")
    plan = Plan.parse(faults if faults is not None else {})
    sock = _listen(host, port)
    try:
        world = World(Path(directory), settings or SandboxSettings())
        try:
            blobs = Blobs(Path(directory), world)
            connections = _Connections()
            app = Sandbox(world, blobs, connections.hangup)
            app.control.plan = plan
            config = uvicorn.Config(
                app,
                http=connections.protocol(),
                loop="asyncio",
                ws="none",
                lifespan="off",
                interface="asgi3",
                access_log=False,
                log_level="critical",
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,
            )
            address = f"http://{host}:{sock.getsockname()[1]}"
            about: dict[str, Any] = {
                "url": address,
                "login": world.owner.login,
                "password": world.settings.password,
                "project_id": str(world.project.id),
                "foreign_project_id": str(world.foreign_project.id),
                "workflow_id": str(world.workflow.id),
            }

            def ready() -> None:
                if on_ready is not None:
                    on_ready(about)

            _Server(config, world, parent, ready).run(sockets=[sock])
        finally:
            world.close()
    finally:
        sock.close()
