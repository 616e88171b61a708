"""Seeds side by side: worker processes that each train with their share of the cores."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from pubmedbert.errors import InputError
from pubmedbert.finetune.seeds import Job, train_seeds
from pubmedbert.model.config import ModelError
from pubmedbert.progress import Advance, progress, say

_PR_SET_PDEATHSIG = 1  # of Linux's prctl.h

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
            train_seeds(job, seeds, folder, lambda note, gained: _tell(advance, note, gained))
            return
        context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads in an unknown state
        waiting: Queue[int | None] = context.Queue()
        notes: Queue[tuple[str, int | None]] = context.Queue()
        for seed in [*seeds, *[None] * job.workers]:  # a worker stops at a None
            waiting.put(seed)
        workers: list[BaseProcess] = [
            context.Process(target=_work, args=(job, folder, waiting, notes, os.getpid()), daemon=True)
            for _ in range(min(job.workers, len(seeds)))
        ]
        with _uninterrupted():
            for worker in workers:
                worker.start()
        try:
            for note, gained in _until_done(workers, notes):
                _tell(advance, note, gained)
        finally:
            for worker in workers:
                worker.terminate()
                worker.join()


def _tell(advance: Advance, note: str, gained: int) -> None:
    """Show progress; what is not merely another epoch is said in any case."""
    if gained != 1:
        say(note)
    advance(gained, note)


def _until_done(workers: list[BaseProcess], notes: Queue[tuple[str, int | None]]) -> Iterator[tuple[str, int]]:
    """Lines from the workers, until all have ended; a worker's error is raised here."""
    while True:
        alive = any(worker.is_alive() for worker in workers)
        try:
            text, gained = notes.get(timeout=0.5 if alive else 0.05)
        except queue.Empty:
            dead = next((worker for worker in workers if worker.exitcode not in (None, 0)), None)
            if dead is not None:
                reason = "was killed, perhaps for want of memory" if (dead.exitcode or 0) < 0 else "failed"
                raise InputError(
                    f"a worker {reason} (exit code {dead.exitcode}); finished seeds are kept, and the same command "
                    "goes on, with --workers 1 in the least memory"
                ) from None
            if not alive:
                return
            continue
        if gained is None:
            raise InputError(text)
        yield text, gained


def _work(
    job: Job, folder: Path, waiting: Queue[int | None], notes: Queue[tuple[str, int | None]], parent: int
) -> None:
    """A worker: trains seeds from the queue until none waits."""

    def report(note: str, gained: int) -> None:
        notes.put((note, gained))

    _end_with(parent)
    try:
        train_seeds(job, iter(waiting.get, None), folder, report)
    except (InputError, ModelError, OSError, MemoryError) as error:
        notes.put((str(error) or type(error).__name__, None))


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
