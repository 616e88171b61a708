"""Seeds side by side: worker processes that each train with their share of the cores."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from pubmedbert.errors import InputError
from pubmedbert.finetune.loop import News
from pubmedbert.finetune.seeds import Job, train_seeds
from pubmedbert.model.config import ModelError
from pubmedbert.progress import Advance, progress, say

_PR_SET_PDEATHSIG = 1  # of Linux's prctl.h
_TELL_SECONDS = 0.5
_LOOK_SECONDS = 2.0

if TYPE_CHECKING:
    from multiprocessing.queues import Queue


def each_seed(job: Job, seeds: list[int], folder: Path) -> None:
    """Train the seeds, `job.workers` at a time.

    Raises:
        InputError: what a worker found wrong, or a worker was killed; seeds that are done stay done.
    """
    epochs = len(seeds) * job.recipe.epochs
    with progress(f"fine-tuning {folder.name}", epochs, "epochs") as advance:
        if job.workers == 1:
            train_seeds(job, seeds, folder, lambda news: _tell(advance, news))
            return
        context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads in an unknown state
        waiting: Queue[int | None] = context.Queue()
        told: Queue[News | str] = context.Queue()
        for seed in [*seeds, *[None] * job.workers]:  # a worker stops at a None
            waiting.put(seed)
        workers: list[BaseProcess] = [
            context.Process(target=_work, args=(job, folder, waiting, told, os.getpid()), daemon=True)
            for _ in range(min(job.workers, len(seeds)))
        ]
        with _uninterrupted():
            for worker in workers:
                worker.start()
        try:
            for news in _until_done(workers, told):
                _tell(advance, news)
        finally:
            for worker in workers:
                worker.terminate()
                worker.join()


def _tell(advance: Advance, news: News) -> None:
    """Show progress; an event is said in any case."""
    if news.event:
        say(news.text)
    advance(news.gained, "" if news.event else news.text, earlier=news.event)


def _until_done(workers: list[BaseProcess], told: Queue[News | str]) -> Iterator[News]:
    """News from the workers, until all have ended; a worker's error, which comes as a text, is raised here."""
    looked = time.monotonic()
    while True:
        alive = any(worker.is_alive() for worker in workers)
        news: News | str | None = None
        with suppress(queue.Empty):
            news = told.get(timeout=0.5 if alive else 0.05)
        if news is None or time.monotonic() - looked > _LOOK_SECONDS:  # others may have news all the time
            looked = time.monotonic()
            dead = next((worker for worker in workers if worker.exitcode not in (None, 0)), None)
            if dead is not None:
                reason = "was killed, perhaps for want of memory" if (dead.exitcode or 0) < 0 else "failed"
                raise InputError(
                    f"a worker {reason} (exit code {dead.exitcode}); finished seeds are kept, and the same command "
                    "goes on, with --workers 1 in the least memory"
                )
        if isinstance(news, str):
            raise InputError(news)
        if news is not None:
            yield news
        elif not alive:
            return


def _work(job: Job, folder: Path, waiting: Queue[int | None], told: Queue[News | str], parent: int) -> None:
    """A worker: trains seeds from the queue until none waits."""
    _end_with(parent)
    try:
        gathered = _Gathered(told)
        train_seeds(job, iter(waiting.get, None), folder, gathered)
        gathered.flush()
    except (InputError, ModelError, OSError, MemoryError) as error:
        told.put(str(error) or type(error).__name__)


class _Gathered:
    """Sends on what a worker tells: events at once, of the rest the latest, now and then, with all that was gained."""

    def __init__(self, told: Queue[News | str]) -> None:
        self._told = told
        self._waiting: News | None = None
        self._sent = time.monotonic()

    def __call__(self, news: News) -> None:
        if news.event:
            self.flush()
            self._told.put(news)
            return
        self._waiting = news if self._waiting is None else replace(news, gained=self._waiting.gained + news.gained)
        if time.monotonic() - self._sent >= _TELL_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        if self._waiting is not None:
            self._told.put(self._waiting)
        self._waiting, self._sent = None, time.monotonic()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes begun here take no notice of Ctrl-C: it is their parent's to answer, which ends them."""
    if threading.current_thread() is not threading.main_thread():  # no other may set signals
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_with(parent: int) -> None:
    """Have the system end this process when its parent ends: nobody waits for the result any more."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)
