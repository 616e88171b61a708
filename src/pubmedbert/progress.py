"""Progress of long work: a live bar with rate and time left on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[..., None]
LOG_EVERY_SECONDS = 10.0


def say(message: str) -> None:
    """Print a line for people to standard error, so that standard output stays for results."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def progress(label: str, total: float | None, unit: str, done: float = 0) -> Iterator[Advance]:
    """Show how far `label` is; yields `advance(amount=1, note="")`.

    Args:
        label: what is being done, such as "reading pubmed26n0001.xml.gz".
        total: the amount of work in `unit`, or None where it is not known.
        unit: what is counted, such as "documents".
        done: how much was done before (a resumed run).
    """
    backend = _bar if sys.stderr.isatty() else _lines
    with backend(label, total, unit, done) as advance:
        yield advance


@contextmanager
def _bar(label: str, total: float | None, unit: str, done: float) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}" + ("/{task.total:,.0f} " if total is not None else " ") + unit),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, rate="", note="")
        bar.update(task, completed=done)
        shown = ""

        def advance(amount: float = 1, note: str = "") -> None:
            nonlocal shown
            shown = note or shown
            gained = bar.tasks[0].completed + amount - done
            rate = gained / max(time.monotonic() - started, 1e-9)
            bar.update(task, advance=amount, rate=_speed(rate), note=shown)

        yield advance


def _speed(rate: float) -> str:
    """A rate; a slow one in minutes."""
    return f"{rate:,.1f}/s" if rate >= 1 or not rate else f"{60 * rate:,.1f}/min"


@contextmanager
def _lines(label: str, total: float | None, unit: str, done: float) -> Iterator[Advance]:
    started = last = time.monotonic()
    count = done

    def line(note: str) -> None:
        elapsed = max(time.monotonic() - started, 1e-9)
        rate = (count - done) / elapsed
        share = f"{count:,.0f}/{total:,.0f}" if total is not None else f"{count:,.0f}"
        left = f", {max(total - count, 0) / rate:,.0f} s left" if total is not None and rate > 0 else ""
        say(f"{label}: {share} {unit}, {_speed(rate)}{left}{', ' + note if note else ''}")

    def advance(amount: float = 1, note: str = "") -> None:
        nonlocal count, last
        count += amount
        if time.monotonic() - last >= LOG_EVERY_SECONDS:
            last = time.monotonic()
            line(note)

    yield advance
    if count > done:
        line("done")
