"""The commands that train and compare vocabularies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.table import Table

    from pubmedbert.vocab.compare import Comparison


def train(*, store: Path, out: Path, size: int = 30522) -> None:
    """Train an uncased WordPiece vocabulary on what the screen kept.

    The same corpus gives the same vocabulary on any machine. Nothing is done where it exists already.

    Parameters
    ----------
    store
        The corpus store.
    out
        The tokenizer folder to make, in Hugging Face layout.
    size
        How many word pieces to learn, special tokens included; PubMedBERT has 30,522.
    """
    from pubmedbert.corpus.store import Store
    from pubmedbert.vocab.train import train_folder

    tokenizer = train_folder(Store(store), out, size)
    print(f"{out}: {tokenizer.get_vocab_size():,} word pieces")


def compare(*tokenizer: Path, text: Path, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Compare tokenizers on the terms of the PubMedBERT paper's Table 1 and on a text.

    Parameters
    ----------
    tokenizer
        Tokenizer folders in Hugging Face layout.
    text
        A UTF-8 text file, one document per line.
    json
        Print JSON instead of a table.
    """
    from dataclasses import asdict
    from json import dumps

    from rich.console import Console

    from pubmedbert.vocab.compare import compare as compare_tokenizers

    results = compare_tokenizers(tokenizer, text)
    if json:
        print(dumps([asdict(result) for result in results], indent=2, ensure_ascii=False))
    else:
        Console().print(_table(results, text))


def _table(results: list[Comparison], text: Path) -> Table:
    """One column per tokenizer: the pieces of each term, then the measures of the text."""
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=f"{text}: {results[0].text.documents:,} documents", caption_justify="left")
    table.add_column("")
    for result in results:
        table.add_column(Text(result.tokenizer), justify="right", overflow="fold")
    for term in results[0].terms:
        table.add_row(term, *(Text("✓" if r.whole(term) else "-".join(r.terms[term])) for r in results))
    table.add_section()
    table.add_row("word pieces in vocabulary", *(f"{r.size:,}" for r in results))
    table.add_row("terms kept whole", *(f"{sum(map(r.whole, r.terms))}/{len(r.terms)}" for r in results))
    table.add_row("pieces / word", *(f"{r.text.pieces_per_word:.3f}" for r in results))
    table.add_row("words kept whole", *(f"{r.text.whole:.1%}" for r in results))
    table.add_row(Text("[UNK] pieces"), *(f"{r.text.unknown:.3%}" for r in results))
    table.add_row("pieces / document", *(f"{r.text.pieces_per_document:.1f}" for r in results))
    return table
