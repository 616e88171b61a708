"""The command that makes shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from pubmedbert.shards.read import Shards


def shards(*, store: Path, tokenizer: Path, out: Path, heldout: float = 0.01) -> None:
    """Tokenise what the screen kept into memory-mapped shards for pretraining.

    Documents are held out for evaluation by a hash of their id. Nothing is done where the same shards exist already.

    Parameters
    ----------
    store
        The corpus store.
    tokenizer
        A tokenizer folder, such as 'pubmedbert vocab train' writes.
    out
        The folder of shards to make.
    heldout
        The share of documents to hold out.
    """
    from rich.console import Console

    from pubmedbert.corpus.store import Store
    from pubmedbert.shards.write import write_shards

    made = write_shards(Store(store), tokenizer, out, heldout)
    Console().print(_table(made))
    meta = made.meta
    print(f"{out}: {meta.vocab_size:,} word pieces as {meta.dtype}, {meta.empty:,} empty documents left out")


def _table(made: Shards) -> Table:
    """What the shards hold, one column per split."""
    from rich.table import Table

    table = Table()
    table.add_column()
    for name in made.meta.splits:
        table.add_column(name, justify="right")
    for field in ("documents", "sentences", "tokens", "words"):
        table.add_row(field, *(f"{getattr(counts, field):,}" for counts in made.meta.splits.values()))
    for label, part in (
        ("tokens / document", "documents"),
        ("tokens / sentence", "sentences"),
        ("tokens / word", "words"),
    ):
        table.add_row(label, *(f"{c.tokens / max(getattr(c, part), 1):.2f}" for c in made.meta.splits.values()))
    table.add_row(r"\[UNK]", *(f"{c.unknown / c.tokens:.4%}" for c in made.meta.splits.values()))
    return table
