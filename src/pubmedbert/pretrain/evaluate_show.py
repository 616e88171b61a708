"""An evaluation for people."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from pubmedbert.pretrain.breakdown import Bin
from pubmedbert.pretrain.evaluate import Evaluation

if TYPE_CHECKING:
    from pubmedbert.pretrain.detection import Detection


def show(result: Evaluation) -> None:
    """Print the accuracy by kind of word, then the whole in a line."""
    console = Console()
    for title, bins in (
        ("words of one piece, by occurrences in training", result.breakdown.by_frequency),
        ("words by number of pieces, all masked at once", result.breakdown.by_pieces),
    ):
        console.print(_table(title, bins))
    print(
        f"held-out loss {result.eval_loss:.4f} nats (unigram {result.unigram_loss:.4f}), "
        f"accuracy {result.eval_accuracy:.2%}, perplexity {exp(min(result.eval_loss, 700.0)):,.1f}; "
        f"{result.masked:,} masked word pieces, masks {result.masks}"
    )
    if (pseudo := result.pseudo) is not None:
        print(
            f"pseudo-perplexity {pseudo.perplexity:,.1f} (PLL-word-l2r), log-likelihood {pseudo.log_likelihood:.2f} "
            f"nats a sentence; {pseudo.sentences:,} sentences, {pseudo.pieces:,} pieces, sample {pseudo.sample}"
        )


def show_detection(result: Detection, masks: str) -> None:
    """Print in a line what an ELECTRA's discriminator does, each figure beside that of the best constant answer."""
    print(
        f"held-out detection loss {result.loss:.4f} nats (constant {result.constant_loss:.4f}), "
        f"accuracy {result.accuracy:.2%} (constant {result.constant_accuracy:.2%}), "
        f"balanced accuracy {result.balanced_accuracy:.2%} and AUC {result.auc:.3f} (constant 50% and 0.5); "
        f"{result.replaced:.2%} of {result.pieces:,} word pieces replaced, masks {masks}"
    )


def _table(title: str, bins: Sequence[Bin]) -> Table:
    table = Table(title=title)
    table.add_column("")
    for name in ("words", "words right", "pieces right", "loss, nats"):
        table.add_column(name, justify="right")
    for part in bins:
        shares = (f"{part.accuracy:.1%}", f"{part.piece_accuracy:.1%}", f"{part.loss:.3f}")
        table.add_row(part.name, f"{part.words:,}", *shares)
    return table
