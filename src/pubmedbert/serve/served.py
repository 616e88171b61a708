"""A model that is served: its queue, its process, and what becomes of both when the process ends."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pubmedbert.errors import InputError
from pubmedbert.infer.tokenizer import MASK
from pubmedbert.serve import frames
from pubmedbert.serve.batching import Entry, FairQueue, QueueFullError
from pubmedbert.serve.limits import Limits, RefusalError
from pubmedbert.serve.metrics import Metrics
from pubmedbert.serve.process import Loading, ModelProcess, ProcessEndedError
from pubmedbert.vocab import folder as vocabulary

log = logging.getLogger("pubmedbert.serve")

_TRIES = 2
"""Processes that a text may bring down before it is refused."""
_LONGEST_PAUSE = 5.0  # seconds between two starts of a process that ends again and again
_MANY_CHARACTERS = 20_000  # so many are tokenised beside the event loop


@dataclass(frozen=True, slots=True)
class Text:
    """One input of a request."""

    text: str
    pair: str | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The text, and the second one where there is one."""
        return (self.text,) if self.pair is None else (self.text, self.pair)

    @property
    def characters(self) -> int:
        """Of both."""
        return sum(map(len, self.parts))


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
        self._loading = loading
        self._limits = limits
        self._metrics = metrics
        self._queue = FairQueue(limits.queue, limits.queue_characters)
        self._process: ModelProcess | None = None
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
        running: asyncio.Task[None] | None = None
        try:
            self._pieces = vocabulary.load(Path(self.about["folder"]))
            self._mask = self._pieces.token_to_id(MASK)
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
            async with asyncio.timeout(self._limits.seconds):
                entries = await self._entries(task, texts, parameters)
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

    async def _entries(self, task: str, texts: Sequence[Text], parameters: dict[str, Any]) -> list[Entry]:
        """The texts as they wait, weighed and checked.

        Raises:
            RefusalError: one is more than what is accepted.
        """
        targets = parameters.get("targets") or []
        words = [targets] if isinstance(targets, str) else targets
        given = [*(part for text in texts for part in text.parts), *words]
        many = sum(map(len, given)) > _MANY_CHARACTERS
        encoded = await asyncio.to_thread(self._encode, given) if many else self._encode(given)
        rows = _target_rows(encoded[len(given) - len(words) :])
        encodings = iter(encoded)
        loop = asyncio.get_running_loop()
        entries = []
        for place, text in enumerate(texts):
            ids = [piece for _ in text.parts for piece in next(encodings)]
            where = "the text" if len(texts) == 1 else f"inputs[{place}]"
            tokens, alone = self._weigh(task, ids, parameters, rows, where)
            job: dict[str, object] = {
                "task": task,
                "text": text.text,
                "pair": text.pair,
                "parameters": parameters,
                "alone": alone,
            }
            entries.append(Entry(tokens=tokens, characters=text.characters, job=job, answer=loop.create_future()))
        self._check_numbers(task, entries, parameters)
        return entries

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._pieces.encode_batch_fast(list(texts))]

    def _weigh(
        self, task: str, ids: Sequence[int], parameters: dict[str, Any], target_rows: int, where: str
    ) -> tuple[int, bool]:
        """Word pieces to compute, and whether the text is to share no call with others."""
        most = self.about["max_tokens"]
        if most is None:
            if len(ids) > self._limits.tokens:
                sentence = f"{where} has {len(ids)} word pieces; this service reads at most {self._limits.tokens}"
                raise RefusalError(400, sentence)
            return len(ids), False
        too_long = len(ids) > most
        if task != "fill-mask":
            return min(len(ids), most), too_long and not parameters.get("truncate")
        masks = ids.count(self._mask)
        if masks > self._limits.masks:
            sentence = f"{where} has {masks} times {MASK}; this service fills at most {self._limits.masks}"
            raise RefusalError(400, sentence)
        work = min(len(ids), most) * max(1, masks * target_rows)
        if work > self._limits.work:
            sentence = (
                f"to score these targets in {where} is {work:,} word pieces of work, and this service does at most "
                f"{self._limits.work:,}; name fewer targets of several pieces, or send a shorter text"
            )
            raise RefusalError(400, sentence)
        return work, too_long or not masks or "targets" in parameters

    def _check_numbers(self, task: str, entries: Sequence[Entry], parameters: dict[str, Any]) -> None:
        """Refuse vectors for every word piece, where these are too many numbers."""
        if task != "feature-extraction" or parameters.get("pooling") != "none":
            return
        numbers = sum(entry.tokens for entry in entries) * self.about["width"]
        if numbers > self._limits.numbers:
            sentence = (
                f'pooling "none" would answer {numbers:,} numbers, and this service answers at most '
                f"{self._limits.numbers:,}; send fewer or shorter texts"
            )
            raise RefusalError(400, sentence)

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
        self.about = self._process.about
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
        tokens = sum(entry.tokens for entry in batch)
        self._metrics.batch.labels(self.name).observe(tokens)
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.stuck_seconds):
                await self._process.send([entry.job for entry in batch])
                for entry in batch:
                    entry.tries += 1
                answers = await self._process.answers(len(batch))
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


def _target_rows(encoded: Sequence[Sequence[int]]) -> int:
    """Rows for each mask that targets of several pieces cost: each of their pieces is scored by itself."""
    counts = [len(ids) - 2 for ids in encoded]  # without [CLS] and [SEP]
    return sum(count for count in counts if count > 1)


def _failed(entry: Entry) -> bool:
    return entry.answer.done() and entry.answer.exception() is not None
