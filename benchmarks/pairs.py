"""Next-sentence rows that their form gives away: how often it tells whether the two parts belong together.

    pubmedbert shards ... --out SHARDS
    python -m benchmarks.pairs --shards SHARDS

The best judge that sees both lengths, in steps of eight word pieces, and whether the second part ends its document, is
found on half of the training rows of an epoch and asked of the others. So is one that sees whether the parts begin and
end at sentences. Chance is 50%.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pubmedbert.pretrain.feed import feed
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.shards.pairs import Text, pairs
from pubmedbert.shards.read import open_shards
from pubmedbert.shards.samples import Ints, order

STEP = 8
"""Word pieces between two lengths that the judge tells apart."""


def told_apart(text: Text, most: int = 60_000) -> tuple[float, float]:
    """The share of rows that lengths and ends of documents tell right, and that borders of sentences do.

    Args:
        text: what rows are made from.
        most: rows looked at.
    """
    rows = pairs(text, order(len(text.table), 0, 0)[:most], 0, 0)
    rows = rows[np.flatnonzero(rows.random_next >= 0)]
    sizes = (rows.spans[:, :, 1] - rows.spans[:, :, 0]) // STEP  # [B, 2]
    ends = np.isin(rows.spans[:, 1, 1], text.documents)
    lengths = (sizes[:, 0] * (text.longest // STEP + 1) + sizes[:, 1]) * 2 + ends
    borders = np.isin(rows.spans.reshape(-1, 4), text.sentences) @ (1, 2, 4, 8)  # [B]
    return _right(lengths, rows.random_next), _right(borders, rows.random_next)


def _right(seen: Ints, kinds: Ints) -> float:
    """How often the best judge that sees one number of each row is right."""
    half = len(seen) // 2
    votes = np.zeros((seen.max() + 1, 2), int)
    np.add.at(votes, (seen[:half], kinds[:half]), 1)
    return float((votes[seen[half:]].argmax(1) == kinds[half:]).mean())


def main() -> None:
    """Print a line for each length of the papers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True)
    shards = open_shards(parser.parse_args().shards)
    for length in (128, 512):
        recipe = Recipe(objective="mlm+nsp", two_segments=True, length=length)
        lengths, borders = told_apart(feed(shards, "train", recipe).text(length))
        print(f"rows of {length}: lengths tell {lengths:.1%}, borders of sentences {borders:.1%}")


if __name__ == "__main__":
    main()
