"""A model in a process of its own, seen from the front."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
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
    map_numbers: int = 1 << 25
    """See `limits.Limits`."""
    indexes: Sequence[str] = ()
    """Folders of what the explorer searches; the model takes the one that was made with it."""
    tagger: str | None = None
    """A fine-tuned model, as `model`, that says of what kind the words found there are."""


class ModelProcess:
    """A running process and what its model is; made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process, about: dict[str, Any]) -> None:
        self._process = process
        self.about = about
        """What `tasks.Loaded.about` says."""
        self.ended: asyncio.Future[int] = asyncio.ensure_future(process.wait())
        """Done once the process has ended."""

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

    async def send(self, jobs: Sequence[Mapping[str, object]]) -> None:
        """Have a batch computed.

        Raises:
            ProcessEndedError: the process has ended before it had all of it.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(frames.packed(frames.OK, frames.jobs_to_json(jobs)))
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ProcessEndedError from error

    async def answers(self, count: int) -> list[frames.Frame]:
        """The answers to the jobs that were sent, in order.

        Raises:
            ProcessEndedError: the process has ended.
        """
        return [await self._answer() for _ in range(count)]

    async def end(self, seconds: float) -> None:
        """End the process: at once, or by closing its input and waiting for so long."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._drained(), seconds)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._drained()

    async def _drained(self) -> None:
        """Wait for the end. What nobody waits for is read, too: behind a full pipe the end would not be seen."""
        assert self._process.stdout is not None
        while await self._process.stdout.read(1 << 16):
            pass
        await self._process.wait()

    async def _answer(self) -> frames.Frame:
        assert self._process.stdout is not None
        try:
            return await frames.receive(self._process.stdout)
        except (asyncio.IncompleteReadError, ConnectionResetError) as error:
            raise ProcessEndedError from error
