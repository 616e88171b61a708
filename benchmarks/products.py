"""The three products of a linear layer by oneDNN and by MKL: what `pubmedbert/model/linear.py` chooses between.

    python -m benchmarks.products

In fp32, in the shapes of a layer and of the vocabulary's head, for the pieces of a step and the 15% of them that are
masked. The two take turns; the table has medians and how many times as fast oneDNN is. `chosen` is what a model of ours
multiplies by on this processor. The names of the products are those of `linear.py`; for `of_weight` oneDNN would need
turned copies, which are left out of its time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from benchmarks.machine import place
from benchmarks.masked_batches import shape
from torch import Tensor

from pubmedbert.model import linear

PIECES = 4096
"""N of a layer's products."""
MASKED = 614
"""N of the head's."""

Run = Callable[[], Tensor]


def products(pieces: int, inputs: int, outputs: int) -> Iterator[tuple[str, Run, Run]]:
    """Each product by name: by oneDNN, and by MKL.

    Args:
        pieces: N, rows of the input.
        inputs: I, its columns.
        outputs: O, columns of the output.
    """
    x, weight, gradient = torch.randn(pieces, inputs), torch.randn(outputs, inputs), torch.randn(pieces, outputs)
    turned, turned_gradient = x.t().contiguous(), gradient.t().contiguous()
    yield "output", lambda: linear.product(x, weight, None), lambda: x @ weight.t()
    yield "of_input", lambda: linear.product(gradient, weight.t(), None), lambda: gradient @ weight
    yield "of_weight", lambda: linear.product(turned_gradient, turned, None), lambda: gradient.t() @ x


def medians(first: Run, second: Run, rounds: int) -> tuple[float, float]:
    """Seconds of both, which take turns."""
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):  # the first is not counted
        for run, seconds in zip((first, second), spent, strict=True):
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
    return statistics.median(spent[0][1:]), statistics.median(spent[1][1:])


def chosen(name: str) -> str:
    """What a model multiplies by on this processor."""
    by_mkl = name == "of_weight" or not linear.HAS_ONEDNN or (name == "of_input" and linear.INPUT_BY_MKL)
    return "MKL" if by_mkl else "oneDNN"


def main() -> None:
    """Print a row for each product of each matrix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="mini,small,base,large")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    print(f"{place()}, {torch.get_num_threads()} threads; GFLOP/s\n")
    print("| matrix | product | N | oneDNN | MKL | oneDNN is faster | chosen |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for size in given.sizes.split(","):
        wide = shape(size)
        width, ffn = wide.width, wide.ffn
        for inputs, outputs, pieces in (
            (width, width, PIECES),
            (width, ffn, PIECES),
            (ffn, width, PIECES),
            (width, wide.vocab_size, MASKED),
        ):
            for name, by_onednn, by_mkl in products(pieces, inputs, outputs):
                ours, theirs = medians(by_onednn, by_mkl, given.rounds)
                work = 2e-9 * pieces * inputs * outputs
                rates = f"{work / ours:.0f} | {work / theirs:.0f} | {theirs / ours:.2f}×"
                print(f"| {size}, {outputs} × {inputs} | {name} | {pieces:,} | {rates} | {chosen(name)} |", flush=True)


if __name__ == "__main__":
    main()
