"""Connections that do not wait for ever, and not too many of them: uvicorn times idle ones only.

Every so many seconds the service looks at each connection. Where its client owes the same as at the last look, it is
cut: the rest of a request's headers, the rest of a body that was refused and is not listened to any more, or to take an
answer. So there are that many seconds for each of these, and at most twice as many. Bodies that are read have a limit
of their own, in `middleware.Bounded`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import termios
from fcntl import ioctl

from uvicorn.protocols.http.h11_impl import H11Protocol

_SLOWEST = 1024
"""Bytes a second that a client must take of an answer, or the look counts as if it had taken none."""
_SENTENCE = json.dumps({"error": "too many connections to this service; try again later"}).encode()
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b"
) % (len(_SENTENCE), _SENTENCE)


class Untaken:
    """How many bytes of answers wait for clients to take them, of all connections."""

    def __init__(self) -> None:
        self.transports: set[asyncio.Transport] = set()

    def __call__(self) -> int:
        """Bytes; what the system has been given is not counted."""
        return sum(transport.get_write_buffer_size() for transport in self.transports)


def timed(seconds: float, connections: int, untaken: Untaken) -> type[H11Protocol]:
    """The protocol that looks at its connections every `seconds`, has so many of them at most, and tells `untaken`."""

    class Timed(H11Protocol):
        _owed: tuple[str, object] | None = None
        _left = 0
        _timer: asyncio.TimerHandle

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            untaken.transports.add(transport)
            self._look()
            if len(self.connections) > connections:
                transport.write(_FULL)
                transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            untaken.transports.discard(self.transport)
            self._timer.cancel()

        def _look(self) -> None:
            owes, left = self._owes(), self.transport.get_write_buffer_size() + _on_the_way(self.transport)
            if owes is not None and owes == self._owed and self._left - left < _SLOWEST * seconds:
                self.transport.abort()
                return
            self._owed, self._left = owes, left
            self._timer = self.loop.call_later(seconds, self._look)

        def _owes(self) -> tuple[str, object] | None:
            """What the client has to do, and after which request."""
            if self.transport.get_write_buffer_size() or self.transport.is_closing():
                return "take", self.cycle
            if self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete):
                return "send", self.cycle
            return None

    return Timed


def _on_the_way(transport: asyncio.Transport) -> int:
    """Bytes that the system has been given and the client's has not taken.

    Without them a client seems to take megabytes at once, and nothing between.
    """
    try:
        found = ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4)
    except (OSError, ValueError):  # the connection has ended
        return 0
    return int.from_bytes(found, sys.byteorder)
