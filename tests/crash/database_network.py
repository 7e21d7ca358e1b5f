"""A network between the workers and their PostgreSQL server: it loses COMMITs, or their replies, and breaks off.

It understands as much of the protocol as it must: where a message ends, and which says COMMIT
(https://www.postgresql.org/docs/current/protocol-message-formats.html). Each process says in its start-up message
who it is, so that it is known whom to strike.
"""

import asyncio
import contextlib
import random
import re
import socket
import struct
from collections.abc import Callable, Iterator

from tests.crash.loopback import Loopback

REPLY_LOST = "COMMIT: reply lost"
LOST = "COMMIT: lost"
UNDER_WAY = "COMMIT: under way when cut off"
LATE = "COMMIT: done late, when cut off"
SLOW = "COMMIT: reply is slow"
BROKEN = "cut off in mid-transaction"
KILL_BEFORE, KILL_AFTER = "kill before COMMIT", "kill after COMMIT"
KINDS = {
    REPLY_LOST: 3, LOST: 2, UNDER_WAY: 2, LATE: 2, SLOW: 1, BROKEN: 2, KILL_BEFORE: 1, KILL_AFTER: 1,
}  # fmt: skip
"""What befalls a transaction, and how often compared with others."""

RESTARTED, CUT = "database restarted", "connections cut"
"""What befalls the server itself; see `ledger_on_server`."""

LATEST_S = 2.0
"""So late at most the server gets a COMMIT whose sender was cut off."""

_NAME = "ctstate.process"
_NEGOTIATIONS = (80877103, 80877104)  # SSLRequest, GSSENCRequest: answered by one byte, and the start-up comes then


class _BrokenOffError(Exception):
    """The connection is over."""


class DatabaseNetwork(Loopback):
    """The way to the server, in a thread of its own.

    Args:
        port: the server's.
        chance: decides what happens.

    Attributes:
        met: told of each accident: the process' name, and its kind.
        kill: kills a process, by its name.
        harm: how likely an accident is, per COMMIT; 0 for none.
        commits_lost: how many had no reply.
    """

    def __init__(self, port: int, chance: random.Random) -> None:
        self._server, self._chance = port, chance
        self.met: Callable[[str, str], object] = lambda name, kind: None
        self.kill: Callable[[str], object] = lambda name: None
        self.harm = 0.0
        self.commits_lost = 0
        self._away = False
        self._writers: set[asyncio.StreamWriter] = set()
        super().__init__()

    def environment(self, process: str) -> dict[str, str]:
        """What a process needs to be known here."""
        return {"PGOPTIONS": f"-c {_NAME}={process}"}

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Nobody gets through for a while."""
        self._away = True
        self._loop.call_soon_threadsafe(lambda: [_reset(writer) for writer in list(self._writers)])
        try:
            yield
        finally:
            self._away = False

    # -- connections ---------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away:
            _reset(writer)
            return
        upstream = None
        self._writers.add(writer)
        try:
            from_server, upstream = await asyncio.open_connection("127.0.0.1", self._server)
            await _Session(self, reader, writer, from_server, upstream).carry()
        except (OSError, EOFError, _BrokenOffError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            for one in (writer, upstream):
                with contextlib.suppress(OSError, RuntimeError, AttributeError):
                    _reset(one)  # type: ignore[arg-type]

    def choose(self) -> str:
        """Draw an accident for a transaction, or none."""
        if self._chance.random() >= self.harm:
            return ""
        return self._chance.choices(list(KINDS), list(KINDS.values()))[0]

    def between(self, low: float, high: float) -> float:
        """Draw a time."""
        return self._chance.uniform(low, high)

    def tell(self, name: str, kind: str) -> None:
        """Something befalls a process."""
        self.commits_lost += kind in (REPLY_LOST, LOST, UNDER_WAY, LATE)
        self.met(name, kind)


class _Session:
    """One connection, there and back."""

    def __init__(
        self,
        network: DatabaseNetwork,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> None:
        self._network = network
        self._reader, self._writer = reader, writer
        self._from_server, self._upstream = from_server, upstream
        self._name = ""
        self._silent = asyncio.Event()  # what the server says goes nowhere any more
        self._said = asyncio.Event()  # by the server, after the last message
        self._wait_s = 0.0

    async def carry(self) -> None:
        await self._start_up()
        there, back = asyncio.create_task(self._there()), asyncio.create_task(self._back())
        try:
            await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (there, back):
                one.cancel()
            await asyncio.gather(there, back, return_exceptions=True)

    async def _start_up(self) -> None:
        while True:
            head = await self._reader.readexactly(8)
            length, code = struct.unpack("!ii", head)
            rest = await self._reader.readexactly(length - 8)
            self._upstream.write(head + rest)
            if code not in _NEGOTIATIONS:
                found = re.search(rf"{re.escape(_NAME)}=([\w-]+)", rest.decode(errors="replace"))
                self._name = found[1] if found else ""
                return
            self._writer.write(await self._from_server.readexactly(1))

    async def _back(self) -> None:
        while data := await self._from_server.read(1 << 16):
            self._said.set()
            if self._wait_s:
                await asyncio.sleep(self._wait_s)
                self._wait_s = 0.0
            if not self._silent.is_set():
                self._writer.write(data)
                await self._writer.drain()

    async def _there(self) -> None:
        network, kind, left = self._network, "", 0
        while True:
            head = await self._reader.readexactly(5)
            body = await self._reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)
            message = head + body
            if head[:1] == b"Q" and body.startswith(b"BEGIN ISOLATION LEVEL READ COMMITTED"):
                kind = network.choose()
                left = int(network.between(1, 12)) if kind == BROKEN else 0
            elif kind and (body == b"COMMIT\0" or left == 1):
                await self._strike(kind, message)
                kind = ""
                continue
            left = max(left - 1, 0)
            self._upstream.write(message)
            await self._upstream.drain()

    async def _strike(self, kind: str, message: bytes) -> None:
        """Let something befall a COMMIT, or a message before it."""
        network = self._network
        network.tell(self._name, kind)
        if kind == SLOW:
            self._wait_s = network.between(0.2, 2.0)
        elif kind in (LOST, BROKEN):
            raise _BrokenOffError
        elif kind == KILL_BEFORE:
            await asyncio.to_thread(network.kill, self._name)
            raise _BrokenOffError
        else:
            self._silent.set()
        if kind in (UNDER_WAY, LATE):
            self._writer.transport.abort()
            await asyncio.sleep(network.between(0.1, LATEST_S) if kind == LATE else 0)
        self._said.clear()
        self._upstream.write(message)
        await self._upstream.drain()
        if kind == SLOW:
            return
        # Until the server has done it; only then its side of the connection is closed.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._said.wait(), 10)
        if kind == KILL_AFTER:
            await asyncio.to_thread(network.kill, self._name)
        raise _BrokenOffError


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
