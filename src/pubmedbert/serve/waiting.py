"""Waiting for an answer as long as somebody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response

T = TypeVar("T")


class LeftError(Exception):
    """The client has gone."""


async def while_awaited(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, which is cancelled when the client of a request leaves.

    Raises:
        LeftError: it has left.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise LeftError
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def unread(_request: Request, _error: Exception) -> Response:
    """The answer to a client that has gone; the number is that of nginx."""
    return Response(status_code=499)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
