"""The explorer: all attentions of a sentence on the wire, and the search of a corpus.

    python -m benchmarks.explore --size large --out docs/benchmarks.md

`pass`: the encoder alone, without any maps. `maps`: tokens and all maps, from text to bytes. `answer`: with the
predictions at every place. Ratios are to `pass`, round by round, each in turn. JSON is what exBERT sends, with numbers
of five digits, and with all digits. Of random weights the times hold, but not the bytes: their maps are nearly uniform;
so the bytes of trained models are given as well.

`search`: `--words` vectors of random numbers, in a file that is mapped, every candidate in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.finetune import make_model
from benchmarks.machine import place
from benchmarks.page import put

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TEXT = (
    "Gefitinib is an EGFR tyrosine kinase inhibitor, which is often used for breast cancer and NSCLC treatment. "
    "Patients with activating mutations in the kinase domain respond to treatment more often than others do. "
)
WIRE_BAR, JSON_BAR, SEARCH_BAR = 1.3, 15.0, 0.2


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="large")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--words", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--trained", type=Path, nargs="*", default=[Path("bundled")], help="models whose bytes are given"
    )
    parser.add_argument("--out", type=Path, help="page whose part on the explorer is replaced; without it, print")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    if given.quick:
        given.size, given.tokens, given.words, given.rounds = "tiny", 24, 5000, 2
    lines = ["## Explorer", "", f"{place()}; medians of {given.rounds} rounds, [least-most].", ""]
    lines += [*wire(given.size, given.tokens, given.rounds, given.trained), ""]
    lines += search(given.words, given.width, given.rounds)
    put("\n".join(lines) + "\n", given.out, "explore")


def wire(size: str, tokens: int, rounds: int, trained: Sequence[Path]) -> Iterator[str]:
    """Times and bytes of a view."""
    from pubmedbert.explore.view import ExploredModel
    from pubmedbert.explore.wire import encode
    from pubmedbert.infer.engine import thread_count

    with tempfile.TemporaryDirectory() as work:
        os.environ["PUBMEDBERT_CACHE"] = str(Path(work) / "cache")
        folder = Path(work) / "model"
        folder.mkdir()
        make_model(folder, size)
        model = ExploredModel(folder, longest=tokens)
        text = TEXT * 4
        row = model.read(text)[0].ids(model.tokenizer.mask_id)
        seconds = in_turn(
            {
                "pass": lambda: model.encoder.hidden([row]),
                "maps": lambda: encode(model.view(text, predictions=False), deflate=False),
                "maps, deflate": lambda: encode(model.view(text, predictions=False)),
                "answer": lambda: encode(model.view(text)),
            },
            rounds,
        )
        shape = model.view(text, predictions=False).attentions.shape
        yield (
            f"{size}, {' × '.join(map(str, shape))} numbers, {thread_count(None)} threads; `maps` is to take at most "
            f"{WIRE_BAR} times the pass:"
        )
        yield ""
        yield "| | ms | times the pass |"
        yield "| --- | --- | --- |"
        for name, times in seconds.items():
            ratios = [mine / plain for mine, plain in zip(times, seconds["pass"], strict=True)]
            yield f"| {name} | {spread(times, 1e3)} | {spread(ratios, 1)} |"
        yield ""
        yield f"| | bytes | with deflate | JSON of five digits | JSON of all digits | ratios; {JSON_BAR:g} is asked |"
        yield "| --- | --- | --- | --- | --- | --- |"
        yield sizes(f"{size}, random", model.view(text))
        for path in trained:
            yield sizes(path.name, ExploredModel(path, longest=tokens).view(text))


def sizes(name: str, view: Any) -> str:
    """The bytes of a view in all forms."""
    import numpy as np

    from pubmedbert.explore.wire import encode

    plain, deflated = len(encode(view, deflate=False)), len(encode(view))
    five = sum(len(json.dumps(np.round(layer.astype(float), 5).tolist())) for layer in view.attentions)
    every = sum(len(json.dumps(layer.tolist())) for layer in view.attentions)
    ratios = (
        f"{five / plain:.1f} and {every / plain:.1f}; with deflate {five / deflated:.1f} and {every / deflated:.1f}"
    )
    return f"| {name} | {plain:,} | {deflated:,} | {five:,} | {every:,} | {ratios} |"


def search(words: int, width: int, rounds: int) -> Iterator[str]:
    """Times of all candidates for the search."""
    import numpy as np

    from pubmedbert.explore import neighbours
    from pubmedbert.explore.index_files import scales
    from pubmedbert.infer.engine import thread_count

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "vectors.bin"
        with path.open("wb") as file:
            for start in range(0, words, 50_000):
                file.write(rng.integers(-127, 128, (min(50_000, words - start), width), np.int8).tobytes())
        vectors: NDArray[np.int8] = np.memmap(path, np.int8, "r", shape=(words, width))
        factors = np.concatenate([scales(vectors[at : at + 50_000]) for at in range(0, words, 50_000)])
        query = rng.normal(size=width).astype(np.float32)

        def ours(threads: int) -> Callable[[], object]:
            return lambda: neighbours.search(vectors, factors, query, 50, threads)

        candidates = {f"numpy, fp32 in blocks, {threads} threads": ours(threads) for threads in (1, thread_count(None))}
        candidates |= others(vectors, query)
        yield f"{words:,} × {width}, 50 nearest; less than {SEARCH_BAR:g} s is asked of ours, numpy:"
        yield ""
        yield "| | ms |"
        yield "| --- | --- |"
        for name, times in in_turn(candidates, rounds).items():
            yield f"| {name} | {spread(times, 1e3)} |"


def others(vectors: NDArray[np.int8], query: NDArray[np.float32]) -> dict[str, Callable[[], object]]:
    """What else could multiply: onnxruntime's int8 product, and faiss where it is installed, with its own copy."""
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper

    count, width = vectors.shape
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["vectors", "query"], ["products"])],
        "search",
        [
            helper.make_tensor_value_info("vectors", TensorProto.INT8, ["N", width]),
            helper.make_tensor_value_info("query", TensorProto.INT8, [width, 1]),
        ],
        [helper.make_tensor_value_info("products", TensorProto.INT32, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    whole = np.rint(query * 127 / np.abs(query).max()).astype(np.int8)[:, None]
    found: dict[str, Callable[[], object]] = {
        "onnxruntime, MatMulInteger": lambda: session.run(None, {"vectors": vectors, "query": whole})
    }
    try:
        import faiss  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError:
        return found
    index = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT)
    for start in range(0, count, 50_000):
        index.add(vectors[start : start + 50_000].astype(np.float32))
    return found | {"faiss, 8-bit scalar quantiser": lambda: index.search(whole.T.astype(np.float32), 50)}


def in_turn(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, round after round."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for round_ in range(rounds + 2):
        for name, call in work.items():
            started = time.perf_counter()
            call()
            if round_ > 1:  # the first ones open and warm up
                seconds[name].append(time.perf_counter() - started)
        print(f"round {round_ - 1} of {rounds}", file=sys.stderr)
    return seconds


def spread(values: Sequence[float], scale: float) -> str:
    """Median and range."""
    return "{:.3g} [{:.3g}-{:.3g}]".format(
        *(scale * value for value in (statistics.median(values), min(values), max(values)))
    )


if __name__ == "__main__":
    main()
