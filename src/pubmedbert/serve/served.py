"""A model that is served: its queue, its process, and what becomes of both when the process ends."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from pubmedbert.errors import FaultError, InputError
from pubmedbert.explore.rows import Row
from pubmedbert.serve import frames
from pubmedbert.serve.batching import Entry, FairQueue, QueueFullError
from pubmedbert.serve.limits import Limits, RefusalError
from pubmedbert.serve.metrics import Metrics
from pubmedbert.serve.process import Loading, ModelProcess, ProcessEndedError
from pubmedbert.serve.weighing import Text, Weigher

log = logging.getLogger("pubmedbert.serve")

_TRIES = 2
"""Processes that a text may bring down before it is refused."""
_LONGEST_PAUSE = 5.0  # seconds between two starts of a process that ends again and again


class ServedModel:
    """A model by name; made by `started`.

    Args:
        name: in URLs.
        loading: how it is loaded.
        limits: what it accepts.
        metrics: what it counts in.
    """

    def __init__(self, name: str, loading: Loading, limits: Limits, metrics: Metrics) -> None:
        self.name = name
        self.ready = False
        """Whether a process is there to answer."""
        self.about: dict[str, Any] = {}
        """What `tasks.Loaded.about` says."""
        self.asked = loading.model
        """ "bundled", a folder or a hub id."""
        self._loading = loading
        self._limits = limits
        self._metrics = metrics
        self._queue = FairQueue(limits.queue, limits.queue_characters)
        self._process: ModelProcess | None = None
        self._mark = ""  # the fingerprint of the model and its tokenizer, once they are loaded
        self._rate = 1000.0  # word pieces a second, lately

    @property
    def tasks(self) -> list[str]:
        """What it answers; its own task comes first."""
        tasks: list[str] = self.about["tasks"]
        return tasks

    @asynccontextmanager
    async def started(self) -> AsyncIterator[ServedModel]:
        """Serve for as long as the context lasts.

        Raises:
            InputError: the model cannot be loaded.
        """
        try:
            await self._start()
        except ProcessEndedError as error:
            raise InputError(f"the process of {self._loading.model} ended while it loaded the model") from error
        if self._loading.precision == "int8" and "int8" not in self.about["engine"]:
            log.warning(
                "int8 is for models that fill masks; this one is computed in fp32",
                extra={"fields": {"model": self.name}},
            )
        running: asyncio.Task[None] | None = None
        try:
            self._weigher = Weigher(self.about, self._limits)
            self._metrics.queue.labels(self.name).set_function(lambda: len(self._queue))
            running = asyncio.create_task(self._run())
            yield self
        finally:
            if running is not None:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running
            if self._process is not None:
                await self._process.end(5.0)

    async def answer(self, task: str, texts: Sequence[Text], parameters: dict[str, Any]) -> list[bytes]:
        """The answer to each text, as JSON. A caller that is cancelled takes its texts out of the queue.

        Raises:
            RefusalError: a text cannot be answered, there is no room, or no time.
        """
        entries: list[Entry] = []
        try:
            if not self._queue.has_room(len(texts), sum(text.characters for text in texts)):
                raise QueueFullError
            until = asyncio.get_running_loop().time() + self._limits.seconds
            async with asyncio.timeout_at(until):
                entries = await self._entries(task, texts, parameters, until)
                self._queue.put(entries)
                return [await entry.answer for entry in entries]
        except QueueFullError as error:
            seconds = max(1, math.ceil(self._queue.tokens / self._rate))
            sentence = f"{len(self._queue)} texts wait for this model already; try again in {seconds} s"
            raise RefusalError(429, sentence, reason="queue", retry_after=seconds) from error
        except TimeoutError as error:
            sentence = f"no answer within {self._limits.seconds:g} s; send fewer or shorter texts, or try again later"
            raise RefusalError(504, sentence, reason="time", retry_after=1) from error
        except RefusalError as error:
            place = next((place for place, entry in enumerate(entries) if _failed(entry)), None)
            if len(texts) == 1 or error.status != 400 or place is None:
                raise
            raise RefusalError(400, f"inputs[{place}]: {error.sentence}") from error
        finally:
            self._queue.drop(entries)
            for entry in entries:
                if not entry.answer.cancel() and not entry.answer.cancelled():
                    entry.answer.exception()  # looked at, so that asyncio does not report it as forgotten

    async def row(self, text: Text) -> Row:
        """A text as the explorer shows it.

        Raises:
            RefusalError: the model does not read it so.
        """
        return await self._weigher.row(text)

    async def _entries(self, task: str, texts: Sequence[Text], parameters: dict[str, Any], until: float) -> list[Entry]:
        """The texts as they wait, weighed and checked.

        Raises:
            RefusalError: one is more than what is accepted.
        """
        weights = await self._weigher.weights(task, texts, parameters)
        loop = asyncio.get_running_loop()
        entries = []
        for text, (tokens, alone) in zip(texts, weights, strict=True):
            job: dict[str, object] = {
                "task": task,
                "text": text.text,
                "pair": text.pair,
                "parameters": parameters,
                "alone": alone,
            }
            answer = loop.create_future()
            entries.append(Entry(tokens=tokens, characters=text.characters, job=job, answer=answer, until=until))
        return entries

    async def _run(self) -> None:
        """Compute batch after batch; replace the process when it ends."""
        pause = 0.0
        while True:
            try:
                if self._process is None:
                    await asyncio.sleep(pause)
                    pause = min(_LONGEST_PAUSE, 2 * pause + 0.1)
                    async with asyncio.timeout(self._limits.stuck_seconds):
                        await self._start()
                if batch := await self._batch():
                    await self._compute(batch)
                pause = 0.0
            except asyncio.CancelledError:
                raise
            except Exception as error:  # whatever it is, requests wait for the next process
                log.error(
                    "the process of a model ended; it is started again",
                    extra={"fields": {"model": self.name, "cause": repr(error)}},
                )
                self._metrics.restarts.labels(self.name).inc()
                self.ready = False
                if self._process is not None:
                    await self._process.end(1.0)
                    self._process = None

    async def _start(self) -> None:
        self._process = await ModelProcess.start(self._loading)
        about = self._process.about
        if self._mark not in ("", about["fingerprint"]):
            raise FaultError(
                f"the model in {about['folder']}, or its tokenizer, was replaced while it was served; "
                "start the service again"
            )
        self.about, self._mark = about, about["fingerprint"]
        self._loading = replace(self._loading, model=self.about["folder"])  # the same again, whatever the hub has then
        self.ready = True

    async def _batch(self) -> list[Entry]:
        """The next texts, once there are some; none, where their request has gone again.

        Raises:
            ProcessEndedError: the process ended, with nothing to do.
        """
        assert self._process is not None
        filled: asyncio.Future[Any] = asyncio.ensure_future(self._queue.filled())
        try:
            await asyncio.wait((filled, self._process.ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            filled.cancel()
        if self._process.ended.done():
            raise ProcessEndedError
        return self._queue.take(self._limits.batch_tokens)

    async def _compute(self, batch: list[Entry]) -> None:
        """Have a batch computed and hand out the answers.

        Raises:
            ProcessEndedError: the process ended, has to be ended, or said what nobody understands; the batch is queued
                again, or refused.
        """
        assert self._process is not None
        process = self._process
        tokens = sum(entry.tokens for entry in batch)
        self._metrics.batch.labels(self.name).observe(tokens)
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.stuck_seconds):
                now = asyncio.get_running_loop().time()
                number = await process.send([entry.job | {"seconds": entry.until - now} for entry in batch])
                for entry in batch:
                    entry.tries += 1
                    entry.answer.add_done_callback(partial(_look, process, number, batch))
                answers = await process.answers(len(batch))
        except Exception as error:
            waiting = [entry for entry in batch if not entry.answer.done()]
            self._queue.put_back([entry for entry in waiting if entry.tries < _TRIES])
            for entry in waiting:
                if entry.tries >= _TRIES:
                    sentence = "the model's process ended while it computed this text, twice; it is started again"
                    entry.answer.set_exception(RefusalError(503, sentence, reason="process", retry_after=5))
            cause = "a batch took too long" if isinstance(error, TimeoutError) else repr(error)
            raise ProcessEndedError(cause) from error
        self._rate += 0.3 * (tokens / max(time.monotonic() - began, 1e-6) - self._rate)
        for entry, (status, payload) in zip(batch, answers, strict=True):
            if entry.answer.done():  # its request has gone
                continue
            if status == frames.OK:
                entry.answer.set_result(payload)
            else:
                code, reason = (400, "input") if status == frames.REFUSED else (500, "fault")
                entry.answer.set_exception(RefusalError(code, payload.decode(), reason=reason))


def _look(process: ModelProcess, number: int, batch: Sequence[Entry], _answer: asyncio.Future[bytes]) -> None:
    """Tell the process if nobody waits any more for any text of the batch that it computes."""
    if all(entry.answer.cancelled() for entry in batch):
        process.give_up(number)


def _failed(entry: Entry) -> bool:
    return entry.answer.done() and entry.answer.exception() is not None
