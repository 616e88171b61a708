"""Fill-mask, text in and answer out, against the transformers pipeline and onnxruntime with the standard export.

    python -m benchmarks.infer --data DATA --out docs/benchmarks.md

Every figure is taken in a process of its own, one variant after the other, round after round; the tables have medians
and ranges. Models have random weights and the bundled vocabulary: speed is measured here, not quality, and int8 is not
judged before it is used, as `pubmedbert export --int8` would. Needs the `dev` extra.

`sentence`: one call on a sentence of nine word pieces. `abstracts`: 64 texts of 20 to 300 pieces with one [MASK] each
(16 for large), in one call; without --data they are made of general biomedical sentences. `command`: from the start of
a process to its answer, files in the page cache and the model converted. `memory`: the largest resident set of a
process that did either of the first two. `--quick` runs everything once on a tiny model.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.finetune import make_model
from benchmarks.machine import place
from benchmarks.page import put

VARIANTS = ("pipeline fp32", "stock fp32", "stock int8", "ours fp32", "ours int8")
SENTENCE = "[MASK] is a tyrosine kinase inhibitor."
PIPELINE = (
    "import sys; from transformers import pipeline; "
    "print(pipeline('fill-mask', model=sys.argv[1], top_k=5)(sys.argv[2]))"
)
PEERS = (
    "The peers get text by text, their better mode on a CPU: a batch pads. Stock is the standard export, its constants "
    "folded before it is rounded. OpenVINO is not among the peers."
)


@dataclass(frozen=True)
class Bar:
    """How many times better one variant is than another, and what is asked of that."""

    size: str
    what: str
    ours: str
    theirs: str
    least: float | None = None


BARS = (
    Bar("base", "sentence", "ours fp32", "pipeline fp32", 1.9),
    Bar("base", "sentence", "ours int8", "pipeline fp32", 8.0),
    Bar("large", "sentence", "ours fp32", "pipeline fp32", 1.8),
    Bar("large", "sentence", "ours int8", "pipeline fp32", 6.5),
    Bar("base", "abstracts", "ours fp32", "pipeline fp32", 1.6),
    Bar("base", "abstracts", "ours int8", "pipeline fp32", 4.0),
    Bar("base", "abstracts", "ours fp32", "stock fp32", 1.2),
    Bar("base", "abstracts", "ours int8", "stock int8", 1.2),
    Bar("large", "abstracts", "ours fp32", "pipeline fp32"),
    Bar("large", "abstracts", "ours int8", "pipeline fp32"),
    Bar("large", "abstracts", "ours fp32", "stock fp32"),
    Bar("large", "abstracts", "ours int8", "stock int8"),
    Bar("base", "command", "ours int8", "pipeline fp32", 12.0),
    Bar("base", "memory", "ours int8", "pipeline fp32", 3.0),
)


def main() -> None:
    """Measure all variants, or one in a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with abstracts/*.jsonl.gz")
    parser.add_argument("--sizes", default="base,large")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=30, help="calls on the sentence in each round")
    parser.add_argument("--out", type=Path, help="page whose part on inference is replaced; without it, print")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", nargs=4, metavar=("WHAT", "VARIANT", "MODEL", "TEXTS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        what, variant, model, listed = given.child
        print(json.dumps(measure(what, variant, Path(model), Path(listed), given.calls)))
        return
    if given.quick:
        given.sizes, given.rounds, given.calls = "tiny", 1, 2
    elif "OMP_NUM_THREADS" in os.environ:
        sys.exit("OMP_NUM_THREADS is set, which not all variants heed: unset it, so that all have every core")
    lines = [line for size in given.sizes.split(",") for line in report(size, given)]
    head = f"{place()}; medians of {given.rounds} rounds, [least-most]; random weights. {PEERS}"
    put("\n".join(["## Fill-mask", "", head, "", *lines]) + "\n", given.out, "infer")


def report(size: str, given: argparse.Namespace) -> Iterator[str]:
    """Measure a size; yield the lines of its part of the page."""
    with tempfile.TemporaryDirectory() as work:
        os.environ["PUBMEDBERT_CACHE"] = str(Path(work) / "cache")
        model, listed = Path(work) / "model", Path(work) / "texts.json"
        model.mkdir()
        child("prepare", size, model, listed)
        count = {"base": 64, "large": 16}.get(size, 4)
        listed.write_text(json.dumps(list(texts(given.data, model, count))))
        threads = child("agree", "ours fp32", model, listed)
        results: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
        for round_ in range(given.rounds):
            for variant in VARIANTS:
                sentence = child("sentence", variant, model, listed, given.calls)
                abstracts = child("abstracts", variant, model, listed)
                memory = max(sentence.pop("memory"), abstracts.pop("memory"))
                results[variant].append(sentence | abstracts | cold(variant, model) | {"memory": memory})
                print(f"{size}, round {round_ + 1} of {given.rounds}, {variant}", file=sys.stderr)
        yield from table(size, count, results)
        yield ", ".join(f"{name}: {number:.0f} threads" for name, number in threads.items()) + "."
        yield "Ours and the pipeline gave the same best piece for all texts."
        yield ""
        yield from bars(size, results)
        yield from bounds(size, json.loads(listed.read_text()), model, results)


def child(what: str, variant: str, model: Path, listed: Path, calls: int = 1) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    options = ["--calls", str(calls), "--child", what, variant, str(model), str(listed)]
    command = [sys.executable, "-m", "benchmarks.infer", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(what: str, variant: str, model: Path, listed: Path, calls: int) -> dict[str, float]:
    """Seconds of a call on the sentence, or for all texts, and the largest memory in bytes."""
    if what == "prepare":
        prepare(model, size=variant)
        return {}
    if what == "agree":
        return agree(model, [SENTENCE, *json.loads(listed.read_text())])
    fill = filler(variant, model)
    given = [SENTENCE] if what == "sentence" else json.loads(listed.read_text())
    for _ in range(3):
        fill(given[:4])
    seconds = []
    for _ in range(calls):
        started = time.perf_counter()
        fill(given)
        seconds.append(time.perf_counter() - started)
    return {what: statistics.median(seconds), "memory": peak_memory()}


def peak_memory() -> float:
    """The largest resident set of this process in bytes; `ru_maxrss` would count that of the one it was forked from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * float(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))


def agree(model: Path, given: list[str]) -> dict[str, float]:
    """Threads of each, if ours in fp32 and the pipeline have the same best piece for all texts."""
    import torch
    from benchmarks import stock

    from pubmedbert import FillMask
    from pubmedbert.infer.engine import thread_count

    ours: Any = FillMask(model, precision="fp32")(given)
    fill = stock.pipeline_fill(model)
    theirs: Any = [fill(text) for text in given]
    for text, mine, other in zip(given, ours, theirs, strict=True):
        if mine[0]["token"] != other[0]["token"]:
            sys.exit(f"ours and the pipeline differ on {text!r}: {mine[0]} and {other[0]}")
    return {"pipeline": torch.get_num_threads(), "stock": stock.THREADS, "ours": thread_count(None)}


def filler(variant: str, model: Path) -> Callable[[list[str]], object]:
    """Texts in, answers out."""
    kind, precision = variant.split()
    if kind == "ours":
        from pubmedbert import FillMask

        return FillMask(model, precision="int8" if precision == "int8" else "fp32")
    from benchmarks import stock

    fill = stock.pipeline_fill(model) if kind == "pipeline" else stock.stock_fill(model, precision)
    return lambda texts: [fill(text) for text in texts]


def prepare(model: Path, size: str) -> None:
    """A model folder with all that the variants read: an int8 verdict that no one reached, and the standard exports."""
    from benchmarks import stock

    from pubmedbert.infer.engine import open_engine
    from pubmedbert.infer.engines.verdict import write_verdict
    from pubmedbert.infer.engines.weight_file import matrices
    from pubmedbert.infer.engines.weights import fingerprint, read_checkpoint

    make_model(model, size)
    for precision in ("fp32", "int8"):
        stock.export_stock(model, precision)
    names = matrices(read_checkpoint(model, "mlm").config, vocabulary=True)
    write_verdict(model, fingerprint(model), {}, frozenset(names))
    open_engine(model, precision="fp32")  # converted, and kept in the cache
    open_engine(model, precision="int8")


def cold(variant: str, model: Path) -> dict[str, float]:
    """Seconds from the start of a process to its answer; the standard export has no command."""
    kind, precision = variant.split()
    if kind == "stock":
        return {}
    command = [sys.executable, "-c", PIPELINE, str(model), SENTENCE]
    if kind == "ours":
        program = str(Path(sys.executable).with_name("pubmedbert"))
        command = [program, "fill-mask", SENTENCE, "--model", str(model), "--json", "--precision", precision]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return {"command": time.perf_counter() - started}


def texts(data: Path | None, model: Path, count: int) -> Iterator[str]:
    """Texts of 20 to 300 word pieces, evenly spread and mixed, with a [MASK] in the middle."""
    import random

    from pubmedbert.infer.engines import gate
    from pubmedbert.infer.tokenizer import ModelTokenizer

    tokenizer = ModelTokenizer(model, 2**31)
    sentences = Path(gate.__file__).with_name("gate_sentences.txt").read_text(encoding="utf-8").split("\n")
    found = [" ".join(sentences[start : start + 30]) for start in range(0, 40, 2)]
    if data is not None:
        with gzip.open(sorted((data / "abstracts").glob("*.jsonl.gz"))[0], "rt", encoding="utf-8") as lines:
            found = [json.loads(line)["abstract"] for line, _ in zip(lines, range(2000), strict=False)]
    rng = random.Random(0)  # noqa: S311
    rng.shuffle(found)
    wanted = [20 + 280 * number // max(1, count - 1) for number in range(count)]
    rng.shuffle(wanted)
    long = [words for text in found if len(words := text.split()) > 150]
    for number, length in enumerate(wanted):
        words = long[number % len(long)]
        end = 10
        while end < len(words) and len(tokenizer.encode(" ".join(words[: end + 1]))) <= length:
            end += 1
        yield " ".join([*words[: end // 2], "[MASK]", *words[end // 2 + 1 : end]])


def table(size: str, count: int, results: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    """The rows of all variants."""
    units = {"sentence": (1e3, "ms"), "abstracts": (1, "s"), "command": (1, "s"), "memory": (1e-6, "MB")}
    yield f"### {size}: one sentence, {count} abstracts, the whole command, memory"
    yield ""
    yield "| | " + " | ".join(f"{what}, {unit}" for what, (_, unit) in units.items()) + " |"
    yield "| --- " * (len(units) + 1) + "|"
    for variant, rounds in results.items():
        cells = []
        for what, (scale, _) in units.items():
            values = [one[what] * scale for one in rounds if what in one]
            middle = statistics.median(values) if values else 0
            cells.append(f"{digits(middle)} [{digits(min(values))}-{digits(max(values))}]" if values else "-")
        yield f"| {variant} | " + " | ".join(cells) + " |"
    yield ""


def digits(value: float) -> str:
    """A number with three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def bars(size: str, results: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    """The ratios, beside what is asked of them."""
    yield "| ratio of | ours | theirs | reached | bar |"
    yield "| --- | --- | --- | --- | --- |"
    for bar in BARS:
        if bar.size == size or (size == "tiny" and bar.size == "base"):
            ours, theirs = (
                statistics.median(one[bar.what] for one in results[name]) for name in (bar.ours, bar.theirs)
            )
            met = "-" if bar.least is None else f"{bar.least}, {'met' if theirs / ours >= bar.least else 'missed'}"
            yield f"| {bar.what} | {bar.ours} | {bar.theirs} | {theirs / ours:.2f} | {met} |"
    yield ""


def bounds(size: str, given: list[str], model: Path, results: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    """What the machine allows: a sentence is bound by reading the weights, abstracts by multiplying."""
    import numpy as np

    from pubmedbert.infer.tokenizer import ModelTokenizer
    from pubmedbert.model.config import SIZES
    from pubmedbert.model.flops import peak_flops, training_flops

    block = np.ones(1 << 26, np.float32)  # 256 MB
    reading = min(_timed(block.sum) for _ in range(5))
    tokenizer = ModelTokenizer(model, 2**31)
    config = SIZES[size]
    lengths = [len(tokenizer.encode(text)) for text in given]
    flops = training_flops(config, lengths, len(lengths)) / 3
    weights = config.layers * (4 * config.width**2 + 2 * config.width * config.ffn) + config.vocab_size * config.width
    rate, peak = block.nbytes / reading, peak_flops()
    yield (
        f"Bounds: this machine reads {rate / 1e9:.1f} GB/s on one thread, so the weights behind a sentence take "
        f"{4e3 * weights / rate:.1f} ms in fp32 and {1e3 * weights / rate:.1f} ms in int8; its best fp32 product "
        f"runs at {peak / 1e9:.0f} GFLOP/s, so the {sum(lengths):,} pieces of the abstracts take {flops / peak:.2f} s."
    )
    spent = statistics.median(one["abstracts"] for one in results["ours fp32"])
    yield f"Ours in fp32 runs at {flops / spent / peak:.0%} of that rate on the abstracts."
    yield ""


def _timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
