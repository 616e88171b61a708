"""Connections that do not wait for ever: uvicorn times idle ones only, not those that trickle."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def timed(seconds: float) -> type[H11Protocol]:
    """The protocol whose clients have so long to send the headers of a request, and to take an answer in."""

    class Timed(H11Protocol):
        _head: asyncio.TimerHandle | None = None
        _write: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._head = self.loop.call_later(seconds, self.transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                _stop(self._head)
                self._head = None
            elif self._head is None and self.timeout_keep_alive_task is None:  # the beginning of another request
                self._head = self.loop.call_later(seconds, self.transport.abort)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._write = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            _stop(self._write)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            _stop(self._head)
            _stop(self._write)

    return Timed


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
