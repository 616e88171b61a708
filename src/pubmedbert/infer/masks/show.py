"""Answers for people: tables with bars on a terminal, lines with tabs elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from pubmedbert.infer.masks.answers import Answer, Filling

Row = tuple[float, str, str]
"""Score, words, filled text."""


def show(texts: Sequence[str], filled: Sequence[Sequence[Sequence[Answer]]]) -> None:
    """Print the answers for each mask of each text.

    Args:
        texts: what was asked.
        filled: from `FillMask.fill`.
    """
    tables = []
    for text, masks in zip(texts, filled, strict=True):
        for number, answers in enumerate(masks, start=1):
            title = text if len(masks) == 1 else f"{text} (mask {number} of {len(masks)})"
            rows = [(one["score"], one["token_str"], one["text"]) for one in answers]
            tables.append((title, rows))
    _print(tables)


def show_jointly(texts: Sequence[str], filled: Sequence[Sequence[Filling]]) -> None:
    """Print the joint fillings of each text.

    Args:
        texts: what was asked.
        filled: from `FillMask.fill_jointly`.
    """
    tables = []
    for text, fillings in zip(texts, filled, strict=True):
        words = [", ".join(word["token_str"] for word in one["words"]) for one in fillings]
        tables.append((text, [(one["score"], word, one["text"]) for one, word in zip(fillings, words, strict=True)]))
    _print(tables)


def _print(tables: Sequence[tuple[str, Sequence[Row]]]) -> None:
    if sys.stdout.isatty():  # asked here and not of rich: its import takes longer than filling a mask
        from rich.console import Console

        console = Console()
        for title, rows in tables:
            _print_table(console, title, rows)
        return
    for title, rows in tables:
        if len(tables) > 1:
            print(title)
        for score, words, text in rows:
            print(f"{_number(score)}\t{words}\t{text}")


def _number(score: float) -> str:
    """A probability; joint ones may be small."""
    return f"{score:.4f}" if score >= 0.0001 else f"{score:.1e}"


def _print_table(console: Console, title: str, rows: Sequence[Row]) -> None:
    from rich import box
    from rich.bar import Bar
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)  # Text: [MASK] is no markup
    table.add_column("score", justify="right")
    table.add_column(width=20)
    table.add_column("word")
    table.add_column("text", overflow="fold")
    longest = max((score for score, _, _ in rows), default=0.0) or 1.0
    for score, words, text in rows:
        bar = Bar(size=longest, begin=0.0, end=score, width=20)  # as long as its share of the best
        table.add_row(f"{score:.2%}" if score >= 0.0001 else _number(score), bar, Text(words, style="bold"), Text(text))
    console.print(table)
