"""A step of masked-language-model pretraining against transformers: the same torch, texts, shape, dropout and AdamW.

    python -m benchmarks.pretrain --data DATA --out docs/benchmarks.md

Every figure is taken in a process of its own, one variant after the other, round after round; the table has medians and
ranges. A rate is in real word pieces a second, [CLS] and [SEP] included, padding not: forward, backward, clipping and
the optimizer's step; batches are made before the clock starts, and the first is not timed. Weights are random: speed is
measured here, not quality. Needs the `dev` extra.

Variants: `ours`; `padded`, BertForMaskedLM with DataCollatorForLanguageModeling, rows padded to the length; `longest`,
the same padded to the batch's longest row, as the collator does if it is not told otherwise; `blocks`, the same on full
blocks cut from texts put end to end, as run_mlm's group_texts makes them: no padding, but a document sees others. Ours
and the padded ones read the same rows: texts of at most the length, cut behind full stops. `bf16` is autocast: matrix
products in bfloat16 (`precision = "bf16"` of ours, `--bf16` of the Trainer). `--profile` adds where our time goes;
`--quick` runs everything once on a tiny model.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.machine import place
from benchmarks.masked_batches import collated, packs, shape, write_texts
from benchmarks.page import put

SIZES = "mini,small,base,large"
VARIANTS = ("ours", "padded", "longest", "blocks")
HALF = ("ours bf16", "padded bf16", "blocks bf16")
"""What is measured, too, where this processor multiplies a third faster in bfloat16, as a run of ours takes it then."""
PADDED_BARS = {
    ("mini", 128): 4.4,
    ("small", 128): 2.8,
    ("base", 128): 2.2,
    ("large", 128): 1.8,
    ("mini", 512): 9.5,
    ("small", 512): 6.5,
    ("base", 512): 4.6,
    ("large", 512): 3.9,
}
"""How many times the rate of `padded` is asked for."""
BLOCK_BARS = {"mini": 3.5, "small": 2.3, "base": 1.9}
"""How many times the rate of `blocks` is asked for."""
MFU_BAR = 0.7
"""Of small and larger."""
PIECES = {"large": 2048}
"""Pieces in a step, padding included; 4,096 for the smaller sizes."""
QUICK_PIECES = 512
"""The same with `--quick`; the best product is then looked for but once."""
STEPS = {"base": 2, "large": 1}
"""Timed steps in a process; 4 for the smaller sizes."""

Found = dict[tuple[str, int], dict[str, list[dict[str, float]]]]
"""What was measured: by size and length, and by variant."""


def main() -> None:
    """Measure all variants, or one in a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with abstracts/*.jsonl.gz; without it, generated texts")
    parser.add_argument("--sizes", default=SIZES, help="some only make a part of the page of their own")
    parser.add_argument("--lengths", default="128,512")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="page whose part on these sizes is replaced; without it, print")
    parser.add_argument("--profile", action="store_true", help="add where our time goes")
    parser.add_argument("--allocator", action="store_true", help="give transformers our allocator settings, too")
    parser.add_argument("--pieces", type=int, help="in a step, padding included (4096; large 2048)")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", nargs=4, metavar=("VARIANT", "SIZE", "LENGTH", "TEXTS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        variant, size, length, listed = given.child
        print(json.dumps(measure(variant, size, int(length), Path(listed), given.pieces, given.allocator)))
        return
    if given.quick:
        given.sizes, given.lengths, given.rounds, given.pieces = "tiny", "128", 1, QUICK_PIECES
    elif "OMP_NUM_THREADS" in os.environ:
        sys.exit("OMP_NUM_THREADS is set: unset it, so that all variants have every core")
    with tempfile.TemporaryDirectory() as work:
        listed = Path(work) / "texts.npz"
        write_texts(given.data, listed)
        some = "" if given.sizes == SIZES else f" {given.sizes}"
        put("\n".join(page(given, listed)) + "\n", given.out, f"pretrain{some}")


def page(given: argparse.Namespace, listed: Path) -> Iterator[str]:
    """Measure everything; yield the lines of its part of the page."""
    from pubmedbert.model.flops import SHAPES
    from pubmedbert.model.precision import WORTHWHILE

    cells = [(size, int(length)) for size in given.sizes.split(",") for length in given.lengths.split(",")]
    first = child("peak", *cells[0], listed, given)
    variants = VARIANTS + HALF * (first["gain"] > WORTHWHILE)
    found: Found = {cell: {variant: [] for variant in variants} for cell in cells}
    peak = first["peak"]
    for round_ in range(given.rounds):
        for size, length in cells:
            for variant in variants:
                found[size, length][variant].append(child(variant, size, length, listed, given))
                print(f"round {round_ + 1} of {given.rounds}, {size} {length}, {variant}", file=sys.stderr)
            peak = max(peak, child("peak", size, length, listed, given)["peak"])
    yield "## Pretraining step" + ("" if given.sizes == SIZES else f", {given.sizes.replace(',', ', ')} alone")
    yield ""
    allocator = "our allocator settings" if given.allocator else "its allocator as it comes"
    rounds = "one round" if given.rounds == 1 else f"medians of {given.rounds} rounds, [least-most]"
    yield (
        f"{place()}; {rounds}, in real word pieces a second; dropout 0.1, fp32, "
        f"random weights, {'abstracts' if given.data else 'generated texts'}. transformers has SDPA, fused AdamW (the "
        f"Trainer's default), whole batches, and {allocator}. Reading, masking and logs are on nobody's clock."
    )
    yield ""
    yield from table(found)
    yield ""
    shapes = ", ".join("×".join(map(str, shape)) for shape in SHAPES)
    yield from use(found, peak, shapes)
    yield from half(found, first["gain"])
    if given.profile:
        for size, length in cells:
            yield from profile(size, length, listed, given.pieces or PIECES.get(size, 4096))


def table(found: Found) -> Iterator[str]:
    """Rates, and the ratios beside what is asked of them."""
    yield "| size, length | ours | padded to length | ratio | padded to longest | ratio | blocks | ratio |"
    yield "| --- " * 8 + "|"
    for (size, length), results in found.items():
        rates = {variant: [one["rate"] for one in rounds] for variant, rounds in results.items()}
        ours = statistics.median(rates["ours"])
        line = f"| {size}, {length} | {shown(rates['ours'])} |"
        bars = {"padded": PADDED_BARS.get((size, length)), "longest": None, "blocks": BLOCK_BARS.get(size)}
        for variant, bar in bars.items():
            line += f" {shown(rates[variant])} | {judged(ours / statistics.median(rates[variant]), bar)} |"
        yield line


def judged(ratio: float, bar: float | None) -> str:
    """A ratio beside what is asked of it."""
    return f"{ratio:.2f}" + ("" if bar is None else f" (bar {bar}, {'met' if ratio >= bar else 'missed'})")


def use(found: Found, peak: float, shapes: str) -> Iterator[str]:
    """How much of the machine ours uses, and how much of their batches is padding."""
    best = f"{peak / 1e9:.0f} GFLOP/s in the best of {shapes}"
    yield (
        f"MFU is the arithmetic that the exact computation needs, over the best fp32 product of this run: {best}. "
        "What the last layer computes for other than masked pieces is not needed."
    )
    yield ""
    yield "| size, length | FLOPs a piece | GFLOP/s | MFU | bar | real pieces in `padded` | in `longest` |"
    yield "| --- " * 7 + "|"
    for (size, length), results in found.items():
        flops = results["ours"][0]["flops"]
        rate = flops * statistics.median(one["rate"] for one in results["ours"])
        asked = "-" if size in ("tiny", "mini") else f"{MFU_BAR:.0%}, {'met' if rate / peak >= MFU_BAR else 'missed'}"
        real = " | ".join(f"{results[variant][0]['real']:.0%}" for variant in ("padded", "longest"))
        yield f"| {size}, {length} | {flops / 1e6:.1f} M | {rate / 1e9:.0f} | {rate / peak:.0%} | {asked} | {real} |"
    yield ""


def half(found: Found, gain: float) -> Iterator[str]:
    """Rates with matrix products in bfloat16."""
    product = f"In bfloat16 this processor multiplies {gain:.1f} times as fast as in fp32"
    if not all(HALF[0] in results for results in found.values()):
        yield f"{product}, less than pays: nothing is computed in it."
        yield ""
        return
    yield f"{product}. Where it is a third faster, ours takes it by itself; the Trainer does when it is told to:"
    yield ""
    heads = ("ours, bf16", "padded, bf16", "ratio", "blocks, bf16", "ratio", "to ours, fp32", "to padded, fp32")
    yield f"| size, length | {' | '.join(heads)} |"
    yield "| --- " * 8 + "|"
    for (size, length), results in found.items():
        rates = {variant: [one["rate"] for one in rounds] for variant, rounds in results.items()}
        middle = {variant: statistics.median(listed) for variant, listed in rates.items()}
        bars = {"padded bf16": PADDED_BARS.get((size, length)), "blocks bf16": BLOCK_BARS.get(size)}
        cells = [shown(rates["ours bf16"])]
        for variant, bar in bars.items():  # equal precision only is judged
            cells += [shown(rates[variant]), judged(middle["ours bf16"] / middle[variant], bar)]
        cells += [judged(middle["ours bf16"] / middle[variant], None) for variant in ("ours", "padded")]
        yield f"| {size}, {length} | {' | '.join(cells)} |"
    yield ""


def shown(rates: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(rates):,.0f} [{min(rates):,.0f}-{max(rates):,.0f}]"


def child(variant: str, size: str, length: int, listed: Path, given: argparse.Namespace) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    pieces = given.pieces or PIECES.get(size, 4096)
    command = [sys.executable, "-m", "benchmarks.pretrain", "--pieces", str(pieces)]
    command += ["--child", variant, size, str(length), str(listed)]
    done = subprocess.run(command + ["--allocator"] * given.allocator, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(variant: str, size: str, length: int, listed: Path, pieces: int, allocator: bool) -> dict[str, float]:
    """The rate of a variant in real pieces a second, and the FLOPs that one needs; or the best product's FLOP/s."""
    from pubmedbert.model.flops import peak_flops
    from pubmedbert.model.precision import bf16_gain
    from pubmedbert.model.runtime import prepare_torch

    if variant == "peak":
        rounds = 10 if pieces > QUICK_PIECES else 1
        return {"peak": peak_flops(rounds), "gain": bf16_gain(rounds)}
    kind, _, format_ = variant.partition(" ")
    if kind == "ours" or allocator:
        prepare_torch()
    steps = 1 + STEPS.get(size, 4)
    batches: list[Any]
    if kind == "ours":
        batches, flops = packs(size, length, listed, steps, pieces)
        model = our_model(size)
        real = [len(batch.tokens) for batch in batches]
        padded = real
    else:
        batches, flops = collated(kind, length, listed, steps, pieces), 0.0
        model = their_model(size)
        real = [int(batch["attention_mask"].sum()) for batch in batches]
        padded = [batch["attention_mask"].numel() for batch in batches]
    step = updating(model, our_loss if kind == "ours" else their_loss, format_ == "bf16")
    step(batches[0])
    started = time.perf_counter()
    for batch in batches[1:]:
        step(batch)
    spent = time.perf_counter() - started
    return {"rate": sum(real[1:]) / spent, "flops": flops, "real": sum(real) / sum(padded)}


def our_model(size: str) -> Any:
    """This project's model."""
    from pubmedbert.model.encoder import initialise
    from pubmedbert.model.heads import Bert

    config = shape(size)
    model = Bert(config).train()
    initialise(model, config, 0)
    return model


def our_loss(model: Any, pack: Any) -> Any:
    """The mean loss over the masked pieces of a pack."""
    import torch

    tokens, positions, types, where, labels = (
        torch.from_numpy(x) for x in (pack.tokens, pack.positions, pack.types, pack.where, pack.labels)
    )
    states = model.encoder(tokens, positions, types, pack.lengths, keep=where)
    return model.loss(states, labels)[0] / len(labels)


def their_model(size: str) -> Any:
    """Transformers' model."""
    import transformers

    from pubmedbert.model.config import config_to_hf

    values = config_to_hf(shape(size))
    del values["architectures"]
    return transformers.BertForMaskedLM(transformers.BertConfig(**values, attn_implementation="sdpa")).train()


def their_loss(model: Any, batch: Any) -> Any:
    """The mean loss over the masked pieces of a batch."""
    return model(**batch).loss


def updating(model: Any, loss_of: Callable[[Any, Any], Any], half: bool) -> Callable[[Any], None]:
    """Forward, backward, clipping and AdamW: the same for all."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)

    def step(batch: Any) -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if not np.isfinite(loss.item()):
            sys.exit("the loss is not finite")

    return step


def profile(size: str, length: int, listed: Path, pieces: int, most: int = 12) -> Iterator[str]:
    """Where our time goes: the operators that take most of it, without what they call."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    from pubmedbert.model.runtime import prepare_torch

    prepare_torch()
    batches, _ = packs(size, length, listed, 3, pieces)
    step = updating(our_model(size), our_loss, half=False)
    step(batches[0])
    with profiled(activities=[ProfilerActivity.CPU]) as seen:
        for batch in batches[1:]:
            step(batch)
    averages = sorted(seen.key_averages(), key=lambda one: -one.self_cpu_time_total)
    total = sum(one.self_cpu_time_total for one in averages)
    yield f"Where ours spends its time, {size} at {length}:"
    yield ""
    yield "| operator | share | calls a step | ms each |"
    yield "| --- | --- | --- | --- |"
    for one in averages[:most]:
        each = one.self_cpu_time_total / one.count / 1000
        share, calls = one.self_cpu_time_total / total, one.count // (len(batches) - 1)
        yield f"| {one.key} | {share:.1%} | {calls:,} | {each:.2f} |"
    rest = sum(one.self_cpu_time_total for one in averages[most:])
    yield f"| all others | {rest / total:.1%} | | |"
    yield ""


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
