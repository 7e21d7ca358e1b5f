"""Connections to the page: who is behind one, how many there may be, and how long one may say nothing.

A login node is shared: any user can open connections to 127.0.0.1. The kernel says whose they are, so that another
user's cannot take the places of those who may look, and a cookie that was stolen is of no use to the thief.
"""

import asyncio
import os
import socket
import struct
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

WAITS_S = 10.0
"""So long one waits for a whole request."""

STRANGERS = 8
"""So many connections of other users there may be at once, before the page is entered; none from then on."""

USER = "user"
"""What the number of the user is called in a request's state."""

# linux/inet_diag.h, linux/netlink.h
_SOCK_DIAG_BY_FAMILY, _REQUEST = 20, 1
_HEADER = struct.Struct("=IHHII")
_QUESTION = struct.Struct("=BBBBI")
_PLACE = struct.Struct("!HH4s12s4s12s")
_ANY = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
_USER_AT = _HEADER.size + 4 + _PLACE.size + len(_ANY) + 12
_EVERY_STATE = 0xFFFFFFFF


def user_behind(peer: tuple[str, int], here: tuple[str, int]) -> int | None:
    """Return the number of the user who opened a TCP connection on this machine; None: the kernel does not tell.

    Args:
        peer: address and port of his end.
        here: of the other end.
    """
    try:
        ends = [(socket.inet_aton(host), port) for host, port in (peer, here)]
        (source, source_port), (target, target_port) = ends
        place = _PLACE.pack(source_port, target_port, source, b"", target, b"") + _ANY
        question = _QUESTION.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _EVERY_STATE) + place
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 4) as kernel:  # SOCK_DIAG
            kernel.settimeout(1.0)
            header = _HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0)
            kernel.sendto(header + question, (0, 0))
            answer = kernel.recv(8192)
    except (AttributeError, OSError):
        return None
    if len(answer) < _USER_AT + 4 or _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    return int(struct.unpack_from("=I", answer, _USER_AT)[0])


class Welcome:
    """Which users' connections are taken."""

    def __init__(self) -> None:
        self._own = {os.getuid(), 0}
        self._entered = False
        self._strangers = 0

    def entered(self, user: int | None) -> None:
        """Somebody came in: from then on there are only he and who started the page."""
        self._entered = True
        if user is not None:
            self._own.add(user)

    def is_stranger(self, user: int | None) -> bool:
        """Tell whether a connection is of somebody else, as far as is known."""
        return user is not None and user not in self._own

    def admits(self) -> bool:
        """Tell whether one more connection of a stranger is taken, and count it."""
        if self._entered or self._strangers >= STRANGERS:
            return False
        self._strangers += 1
        return True

    def left(self) -> None:
        """A stranger's connection that was counted has ended."""
        self._strangers -= 1


class Visitor(H11Protocol):
    """A connection. h11, as it bounds how long headers are."""

    welcome: Welcome

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, or hang up."""
        super().connection_made(transport)
        self._counted = False
        self._patience: asyncio.TimerHandle | None = None
        peer, here = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        user = user_behind(peer[:2], here[:2]) if peer and here else None
        self.app_state: dict[str, Any] = {**self.app_state, USER: user}
        if self.welcome.is_stranger(user):
            self._counted = self.welcome.admits()
            if not self._counted:
                transport.abort()
                return
        self._look()

    def data_received(self, data: bytes) -> None:
        """Read some of a request."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._look_no_more()
        if self._counted:
            self._counted = False
            self.welcome.left()
        super().connection_lost(exc)

    def _look(self) -> None:
        """While no request is being answered, one must come in time: a byte now and then is none."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._look_no_more()
        elif self._patience is None and not self.transport.is_closing():
            self._patience = self.loop.call_later(WAITS_S, self.transport.abort)

    def _look_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
