"""Progress of long work: a live bar with rate and time left on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TypeVar

Advance = Callable[..., None]
Item = TypeVar("Item")
LOG_EVERY_SECONDS = 10.0


def say(message: str) -> None:
    """Print a line for people to standard error, so that standard output stays for results."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def progress(label: str, total: float | None, unit: str, done: float = 0) -> Iterator[Advance]:
    """Show how far `label` is; yields `advance(amount=1, note="", earlier=False)`.

    What was done `earlier` (by a process before, or less than nothing, where work is given up) is no part of the rate.

    Args:
        label: what is being done, such as "reading pubmed26n0001.xml.gz".
        total: the amount of work in `unit`, or None where it is not known.
        unit: what is counted, such as "documents".
        done: how much was done before (a resumed run).
    """
    backend = _bar if sys.stderr.isatty() else _lines
    with backend(label, total, unit, done) as advance:
        yield advance


def beside_answers(label: str, unit: str) -> AbstractContextManager[Advance]:
    """Progress of a command that prints answers as it goes: none where they show on a terminal how far it is."""
    return nullcontext(lambda *_: None) if sys.stdout.isatty() else progress(label, None, unit)


def counted(items: Sequence[Item], label: str, unit: str) -> Iterator[Item]:
    """The items, with progress from one to the next."""
    with progress(label, len(items), unit) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def _bar(label: str, total: float | None, unit: str, done: float) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[count]} " + unit),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[note]}", markup=False),
    )
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, count=_count(done, total), rate="", left="", note="")
        bar.update(task, completed=done)
        shown, gained = "", 0.0

        def advance(amount: float = 1, note: str = "", *, earlier: bool = False) -> None:
            nonlocal shown, gained
            shown = note or shown
            gained += 0 if earlier else amount
            rate = gained / max(time.monotonic() - started, 1e-9)
            done = bar.tasks[0].completed + amount
            left = "" if total is None or rate <= 0 else f"{timedelta(seconds=int(max(total - done, 0) / rate))} left"
            bar.update(task, advance=amount, count=_count(done, total), rate=_speed(rate), left=left, note=shown)

        yield advance


def _count(count: float, total: float | None) -> str:
    """How much of how much, with a decimal where it is not whole."""
    return "/".join(f"{amount:,.1f}".removesuffix(".0") for amount in (count, total) if amount is not None)


def _speed(rate: float) -> str:
    """A rate; a slow one in minutes."""
    return f"{rate:,.1f}/s" if rate >= 1 or not rate else f"{60 * rate:,.1f}/min"


@contextmanager
def _lines(label: str, total: float | None, unit: str, done: float) -> Iterator[Advance]:
    started = last = time.monotonic()
    count, gained = done, 0.0

    def line(note: str) -> None:
        rate = gained / max(time.monotonic() - started, 1e-9)
        left = f", {max(total - count, 0) / rate:,.0f} s left" if total is not None and rate > 0 else ""
        say(f"{label}: {_count(count, total)} {unit}, {_speed(rate)}{left}{', ' + note if note else ''}")

    def advance(amount: float = 1, note: str = "", *, earlier: bool = False) -> None:
        nonlocal count, gained, last
        count += amount
        gained += 0 if earlier else amount
        if time.monotonic() - last >= LOG_EVERY_SECONDS:
            last = time.monotonic()
            line(note)

    yield advance
    if gained:
        line("done" if total is None or count >= 0.99 * total else "")
