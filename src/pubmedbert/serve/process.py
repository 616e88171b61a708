"""A model in a process of its own, seen from the front."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pubmedbert.errors import InputError
from pubmedbert.serve import frames


class ProcessEndedError(Exception):
    """A model's process has ended while it was needed."""


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a model is loaded."""

    model: str
    """ "bundled", a folder or a hub id."""
    precision: str | None = None
    backend: str = "auto"
    threads: int | None = None


class ModelProcess:
    """A running process and what its model is; made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process, about: dict[str, Any]) -> None:
        self._process = process
        self.about = about
        """What `tasks.Loaded.about` says."""

    @classmethod
    async def start(cls, loading: Loading) -> ModelProcess:
        """Start a process, load the model in it and compute once.

        Raises:
            InputError: the model cannot be loaded.
            ProcessEndedError: the process has ended.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "pubmedbert.serve.worker", json.dumps(vars(loading))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        made = cls(process, {})
        try:
            status, payload = await made._answer()
            if status != frames.OK:
                raise InputError(payload.decode())
            made.about = json.loads(payload)
        except BaseException:
            await made.end(2.0)  # time to say on standard error what was the matter
            raise
        return made

    async def compute(self, jobs: Sequence[dict[str, object]]) -> list[frames.Frame]:
        """The answer to each job, in order.

        Raises:
            ProcessEndedError: the process has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(frames.packed(frames.OK, json.dumps(jobs).encode()))
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ProcessEndedError from error
        return [await self._answer() for _ in jobs]

    async def end(self, seconds: float) -> None:
        """End the process: at once, or by closing its input and waiting for so long."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _answer(self) -> frames.Frame:
        assert self._process.stdout is not None
        try:
            return await frames.receive(self._process.stdout)
        except (asyncio.IncompleteReadError, ConnectionResetError) as error:
            raise ProcessEndedError from error
