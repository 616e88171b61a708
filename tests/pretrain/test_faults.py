"""Thirty deaths of one run, each at a random call of a dangerous place: nothing is lost, and no bit differs.

Each process is forked from a server that has imported torch, dies for real, and leaves its files as they were.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pubmedbert import files
from pubmedbert.errors import InputError
from pubmedbert.model import hf
from pubmedbert.pretrain import loop, run, sinks
from pubmedbert.pretrain.optimizer import Optimizer
from pubmedbert.pretrain.recipe import Recipe
from tests.pretrain.conftest import SMALL, changed, metrics

RECIPE = changed(SMALL, rows=8, steps=24, average=0.9, evaluate_rows=32, checkpoint_every=3)

# Where a process may die: an object, the name of what it calls, and how often that is called at most before a death.
PLACES: dict[str, tuple[Any, str, int]] = {
    "starting": (run, "feed", 2),
    "step": (Optimizer, "step", 5),
    "evaluation": (loop, "evaluate_terms", 2),
    "metrics": (sinks.JsonLines, "write", 6),
    "checkpoint": (hf, "write_tensors", 5),
    "flush": (files, "_flush", 12),
    "pruning": (shutil, "rmtree", 4),
    "disk full": (hf, "write_tensors", 5),
    "SIGTERM": (Optimizer, "step", 5),
}


def _half_done(place: str, arguments: tuple[Any, ...]) -> None:
    """What is on the disk when a write is cut off in the middle."""
    if place in ("checkpoint", "disk full"):
        arguments[1].write_bytes(b"\x10" * 1000)
    if place == "metrics":
        arguments[0]._file.write('{"step": 4, "los')
        arguments[0]._file.flush()


def _no_measuring() -> None:
    """The machine's peak takes seconds of matrix products, thirty times."""
    setattr(run, "peak_flops", lambda **_: 1e9)  # noqa: B010  # mypy takes a plain assignment for a mistake


def doomed(place: str, calls: int, recipe: Recipe, shards: Path, folder: Path) -> None:
    """A process that trains until a place is called for so many times, and dies there."""
    owner, name, _ = PLACES[place]
    original: Callable[..., Any] = getattr(owner, name)
    left = calls

    def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            _half_done(place, arguments)
            if place == "disk full":
                raise OSError(errno.ENOSPC, "No space left on device")
            os.kill(os.getpid(), signal.SIGTERM if place == "SIGTERM" else signal.SIGKILL)
        return original(*arguments, **named)

    setattr(owner, name, dying)
    _no_measuring()
    try:
        loop.pretrain(recipe, shards, folder)
    except InputError as error:
        os._exit(3 if "No space left" in str(error) else 4)


@pytest.fixture(scope="module")
def server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.pretrain.test_faults"])
    return context


def test_thirty_deaths_at_random_places_change_nothing(
    shards: Path, tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    ends = []
    for number in range(30):
        place = list(PLACES)[number % len(PLACES)]
        arguments = (place, rng.randint(1, PLACES[place][2]), RECIPE, shards, tmp_path / "dying")
        process = server.Process(target=doomed, args=arguments)
        process.start()
        process.join()
        ends.append((place, process.exitcode))
    known = {-signal.SIGKILL, 3, 0}  # killed, disk full; a stop by SIGTERM or a finished run end in peace
    assert {code for _, code in ends} <= known, f"seed {seed}: {ends}"
    assert sum(code == -signal.SIGKILL for _, code in ends) >= 10, f"seed {seed}: {ends}"
    monkeypatch.setattr(run, "peak_flops", lambda **_: 1e9)
    loop.pretrain(RECIPE, shards, tmp_path / "dying")
    loop.pretrain(RECIPE, shards, tmp_path / "whole")
    assert metrics(tmp_path / "dying") == metrics(tmp_path / "whole"), f"seed {seed}: {ends}"
    for name in ("model", "weights", "optimizer"):
        file = f"checkpoints/step-24/{name}.safetensors"
        assert (tmp_path / "dying" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), f"seed {seed}"
    left = [path for path in (tmp_path / "dying").rglob(".*") if path.name.endswith((".tmp", ".old"))]
    assert not left, "the living clear up after the dead"


def measured(recipe: Recipe, shards: Path, folder: Path, queue: Any) -> None:
    """A run that notes its memory after each step."""
    original, sizes = Optimizer.step, []

    def step(self: Optimizer, lr: float) -> None:
        original(self, lr)
        sizes.append(psutil.Process().memory_info().rss)

    Optimizer.step = step  # type: ignore[method-assign]
    _no_measuring()
    loop.pretrain(recipe, shards, folder)
    queue.put(sizes)


def test_memory_does_not_grow(shards: Path, tmp_path: Path, server: Any) -> None:
    recipe = replace(RECIPE, steps=240, checkpoint_every=20, evaluate_every=30, average=0.0)
    queue = server.Queue()
    process = server.Process(target=measured, args=(recipe, shards, tmp_path / "run", queue))
    process.start()
    sizes = queue.get(timeout=600)
    process.join()
    early, late = max(sizes[60:120]), max(sizes[180:])
    assert late - early < 8 * 2**20, f"{(late - early) / 2**20:.1f} MB more in 120 steps, of {early / 2**20:.0f} MB"
