"""A model in a process of its own, seen from the front."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pubmedbert.errors import InputError
from pubmedbert.serve import frames
from pubmedbert.serve.given_up import Teller


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

    def __init__(self, process: asyncio.subprocess.Process, teller: Teller) -> None:
        self._process = process
        self._teller = teller
        self._sent = 0
        self.about: dict[str, Any] = {}
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
        teller = Teller()
        command = (sys.executable, "-P", "-m", "pubmedbert.serve.worker")
        try:
            process = await asyncio.create_subprocess_exec(
                *(*command, json.dumps(vars(loading)), str(teller.reading)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=[teller.reading],
            )
        except BaseException:
            teller.close()
            raise
        finally:
            os.close(teller.reading)
        made = cls(process, teller)
        try:
            status, payload = await made._answer()
            if status != frames.OK:
                raise InputError(payload.decode())
            made.about = json.loads(payload)
        except asyncio.CancelledError:
            await made.end(0.0)
            raise
        except BaseException:
            await made.end(2.0)  # time to say on standard error what was the matter
            raise
        return made

    async def send(self, jobs: Sequence[Mapping[str, object]]) -> int:
        """Have a batch computed.

        Returns:
            Its number.

        Raises:
            ProcessEndedError: the process has ended before it had all of it.
        """
        assert self._process.stdin is not None
        self._sent += 1
        try:
            self._process.stdin.write(frames.packed(frames.OK, frames.jobs_to_json(jobs)))
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ProcessEndedError from error
        return self._sent

    def give_up(self, number: int) -> None:
        """Tell the process that nobody waits for a batch any more: it answers all the same, but soon."""
        self._teller.tell(number)

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
        self._teller.close()
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
