"""`pubmedbert fill-mask` and `pubmedbert export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.table import Table

    from pubmedbert.infer.fill_mask import Answer


def fill_mask(
    *texts: Annotated[str, Parameter(allow_leading_hyphen=True)],
    model: str = "bundled",
    top_k: int = 5,
    targets: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Fill the [MASK] in texts: the most probable word pieces, with their probabilities.

    Parameters
    ----------
    texts
        Texts with [MASK] in place of a word, such as "[MASK] is a tyrosine kinase inhibitor."; a single - reads them
        from standard input, one per line.
    model
        "bundled", a folder in Hugging Face layout, or a hub id such as
        microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract.
    top_k
        Answers for each mask.
    targets
        The only words to answer, separated by commas; each must be one word piece.
    json
        Print what the Hugging Face fill-mask API returns.
    """
    from json import dumps

    from pubmedbert.infer.fill_mask import FillMask, api_form

    given = _given(texts)
    words = None if targets is None else [word for part in targets.split(",") if (word := part.strip())]
    filled = FillMask(model).fill(given, top_k=top_k, targets=words)
    if json:
        print(dumps(api_form(filled), ensure_ascii=False))
    else:
        show(given, filled)


def export(source: str, *, out: Path, dtype: Literal["float32", "float16"] = "float32") -> None:
    """Write a run or a model as a Hugging Face folder that transformers and pubmedbert load.

    Parameters
    ----------
    source
        A run made by 'pubmedbert pretrain' (its newest checkpoint), "bundled", a model folder, or a hub id.
    out
        The folder to make; an older export there is replaced.
    dtype
        Numbers of the weights; float16 halves the size.
    """
    from pubmedbert.infer.export import export as run
    from pubmedbert.progress import say

    run(source, out, dtype)
    size = sum(file.stat().st_size for file in out.iterdir())
    say(f"{out}: a model of {size / 1e6:,.1f} MB; try: pubmedbert fill-mask 'Aspirin inhibits [MASK].' --model {out}")


def show(texts: Sequence[str], filled: list[list[list[Answer]]]) -> None:
    """Print answers for people: tables with bars on a terminal, lines of score, piece and text elsewhere.

    Args:
        texts: what was asked.
        filled: the answers for each mask of each text, from `FillMask.fill`.
    """
    from rich.console import Console

    console = Console()
    several = sum(len(masks) for masks in filled) > 1
    for text, masks in zip(texts, filled, strict=True):
        for number, answers in enumerate(masks, start=1):
            title = text if len(masks) == 1 else f"{text} (mask {number} of {len(masks)})"
            if console.is_terminal:
                console.print(_table(title, answers))
                continue
            if several:
                print(title)
            for answer in answers:
                print(f"{answer['score']:.4f}\t{answer['token_str']}\t{answer['sequence']}")


def _given(texts: Sequence[str]) -> list[str]:
    """The texts of the command line, or the lines of standard input for a single "-"."""
    import sys

    from pubmedbert.errors import InputError

    if not texts:
        raise InputError("name a text with [MASK] in it, or - to read texts from standard input")
    if list(texts) != ["-"]:
        return list(texts)
    lines = [line.decode("utf-8", "surrogateescape").rstrip("\r\n") for line in sys.stdin.buffer]
    given = [line for line in lines if line.strip()]
    if not given:
        raise InputError("standard input holds no text")
    return given


def _table(title: str, answers: Sequence[Answer]) -> Table:
    from rich import box
    from rich.bar import Bar
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)  # Text: [MASK] is no markup
    table.add_column("score", justify="right")
    table.add_column(width=20)
    table.add_column("word piece")
    table.add_column("text", overflow="fold")
    for answer in answers:
        bar = Bar(
            size=answers[0]["score"], begin=0.0, end=answer["score"], width=20
        )  # as long as its share of the best
        table.add_row(f"{answer['score']:.2%}", bar, Text(answer["token_str"], style="bold"), Text(answer["sequence"]))
    return table
