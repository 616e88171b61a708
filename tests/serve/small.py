"""The application over a model that answers at once, without a process."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn

from pubmedbert.serve.app import create_app
from pubmedbert.serve.connection import Untaken, timed
from pubmedbert.serve.limits import Limits
from pubmedbert.serve.metrics import Metrics
from pubmedbert.serve.process import Loading
from pubmedbert.serve.served import ServedModel
from pubmedbert.serve.weighing import Text

LARGE = b"[" + b"1," * (8 << 20) + b"1]"
"""16 MiB: more than the buffers of a connection hold."""


class Echo(ServedModel):
    """Answers its texts; "fault" is a fault of the service, "hang" is not answered, "large" has a large answer."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        super().__init__("echo", Loading(model="echo"), limits, metrics)
        self.ready = True
        self.about = {
            "tasks": ["fill-mask", "feature-extraction"],
            "engine": "echo",
            "max_tokens": 64,
            "width": 8,
            "pairs": False,
            "labels": [],
        }

    async def answer(self, task: str, texts: Sequence[Text], parameters: dict[str, Any]) -> list[bytes]:
        if texts[0].text == "fault":
            raise ZeroDivisionError
        if texts[0].text == "hang":
            await asyncio.sleep(1000)
        return [LARGE if text.text == "large" else b"[]" for text in texts]


def small_app(
    key: str | None = None,
    origins: Sequence[str] = (),
    hosts: Collection[str] | None = None,
    untaken: Callable[[], int] = lambda: 0,
    **limits: Any,
) -> Any:
    bounds, metrics = Limits(**limits), Metrics()
    return create_app([Echo(bounds, metrics)], bounds, metrics, key=key, origins=origins, hosts=hosts, untaken=untaken)


@contextmanager
def running(**limits: Any) -> Iterator[tuple[str, int]]:
    """The application behind real connections, in a thread; yields its address."""
    bounds = Limits(**limits)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    untaken = Untaken()
    config = uvicorn.Config(
        small_app(untaken=untaken, **limits),
        http=timed(bounds.body_seconds, bounds.connections, untaken),
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield listening.getsockname()
    finally:
        server.should_exit = True
        thread.join(20)
