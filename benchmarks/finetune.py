"""Fine-tuning and prediction against the transformers Trainer: the same torch, weights, examples, batches and dropout.

    python -m benchmarks.finetune --data DATA --rounds 3

Every figure is taken in a process of its own, one variant after the other, round after round; the table has the median
of each and its range. A process first trains on some batches that are not timed; all have the same allocator settings.
The model has base size and random weights: speed is measured here, not quality. Needs the `dev` extra.

Variants: `trainer` pads each batch to its longest row (the Trainer's default); `bucketed` has batches of rows of
similar length; `pubmedbert` reads unpadded packs. All train in fp32 and, where this processor multiplies a third faster
in it, in bfloat16: `pubmedbert finetune` does so by itself, the Trainer with `bf16=True`. Predictions of this project
are always in fp32. Rates are in real word pieces, [CLS] and [SEP] included, padding not. `trainer` and `pubmedbert`
read the same random examples of the training set; `bucketed` reads evenly spread batches of the whole set sorted by
length, so that it has the little padding that it would have in a whole epoch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.machine import place

from pubmedbert.model.precision import in_bf16

VARIANTS = ("trainer", "bucketed", "pubmedbert")
"""Each in fp32, and in bf16 where that is fast."""
EXAMPLES = {"ncbi-disease": (192, 32), "hoc": (32, 16)}
"""Examples in an epoch and in a batch, by data set."""


def main() -> None:
    """Measure all variants, or one in a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the BLURB data sets")
    parser.add_argument("--sets", default="ncbi-disease,hoc")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="base")
    parser.add_argument("--child", nargs=3, metavar=("VARIANT", "SET", "MODEL"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        variant, name, model = given.child
        print(json.dumps(measure(variant, name, Path(model), given.data)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder), given.size)
        print(f"{place()}; {given.size} size, random weights, dropout 0.1")
        precisions = ["fp32", "bf16"] if in_bf16("auto", "cpu") else ["fp32"]
        variants = [f"{variant} {precision}" for precision in precisions for variant in VARIANTS]
        for name in given.sets.split(","):
            table(name, [run(variant, name, folder, given) for _ in range(given.rounds) for variant in variants])


def run(variant: str, name: str, model: str, given: argparse.Namespace) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.finetune", "--data", str(given.data), "--child", variant, name, model]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"variant": variant} | result


def table(name: str, results: list[dict[str, Any]]) -> None:
    """Print medians, ranges and ratios of one data set."""
    rates: dict[tuple[str, str], list[float]] = {}
    for one in results:
        for kind in ("train", "predict"):
            rates.setdefault((one["variant"], kind), []).append(one[kind])
    medians = {key: statistics.median(found) for key, found in rates.items()}
    variants = list(dict.fromkeys(one["variant"] for one in results))
    ours = [variant for variant in variants if variant.startswith("pubmedbert")]
    print(f"\n{name}: {results[0]['examples']} examples, batches of {EXAMPLES[name][1]}\n")
    print("| word pieces/s | train |", *(f"{variant} is |" for variant in ours), f"predict | {ours[0]} is |")
    print("| --- |" + " --- |" * (len(ours) + 3))
    for variant in variants:
        train, predict = (
            f"{medians[variant, kind]:,.0f} [{min(rates[variant, kind]):,.0f}-{max(rates[variant, kind]):,.0f}]"
            for kind in ("train", "predict")
        )
        times = [f"{medians[own, 'train'] / medians[variant, 'train']:.2f}x" for own in ours]
        times_predict = f"{medians[ours[0], 'predict'] / medians[variant, 'predict']:.2f}x"
        print("|", " | ".join([variant, train, *times, predict, times_predict]), "|")
    flops, peak = (max(one[key] for one in results) for key in ("flops", "peak"))
    train, predict = medians[ours[0], "train"] * flops, medians[ours[0], "predict"] * flops / 3  # no backward pass
    shares = (f"{rate / 1e9:.0f} GFLOP/s ({rate / peak:.0%})" for rate in (train, predict))
    print(f"\n{ours[0]} trains and predicts at {' and '.join(shares)}; this machine's best product: {peak / 1e9:.0f}")


def measure(variant: str, name: str, model: Path, data: Path) -> dict[str, Any]:
    """Training and prediction rates of one variant, in word pieces a second, and the FLOPs that one needs."""
    from pubmedbert.blurb.datasets import open_dataset
    from pubmedbert.finetune import loop
    from pubmedbert.finetune.recipe import Recipe
    from pubmedbert.model.flops import peak_flops, training_flops

    count, batch = EXAMPLES[name]
    reader, precision = variant.split()
    recipe = Recipe(batch=batch, long="truncate", max_length=512, precision=precision)
    ready = loop.setup(open_dataset(name, data), recipe, model)
    shuffled = np.random.default_rng(0).permutation(len(ready.train.rows))[:count].tolist()
    chosen = sample(ready, count, batch) if reader == "bucketed" else shuffled
    lengths = [len(ready.train.rows[number][0].tokens) for number in chosen]
    seconds = ours(ready, chosen) if reader == "pubmedbert" else trainer(ready, chosen, model)
    rates = {kind: sum(lengths) / spent for kind, spent in seconds.items()}
    flops = training_flops(ready.base.config, lengths, 0) / sum(lengths)
    return rates | {"examples": count, "flops": flops, "peak": peak_flops()}


def sample(ready: Any, count: int, batch: int) -> list[int]:
    """Examples of evenly spread batches of the training set in the order of length."""
    rows = ready.train.rows
    order = sorted(range(len(rows)), key=lambda number: len(rows[number][0].tokens))
    batches = [order[start : start + batch] for start in range(0, len(order) - batch + 1, batch)]
    parts = count // batch
    return [number for part in range(parts) for number in batches[(2 * part + 1) * len(batches) // (2 * parts)]]


def ours(ready: Any, chosen: list[int]) -> dict[str, float]:
    """Seconds this project takes."""
    from pubmedbert.finetune import loop
    from pubmedbert.finetune.logits import example_logits
    from pubmedbert.finetune.stability import Optimizer

    model = loop.new_model(ready.base, ready.head, ready.recipe, 0)
    optimizer = Optimizer(model, ready.recipe, 1000)

    def train(numbers: list[int]) -> None:
        model.train()
        for step, start in enumerate(range(0, len(numbers), ready.recipe.batch)):
            loop.update(ready, model, numbers[start : start + ready.recipe.batch])
            optimizer.step(step)

    train(chosen[: 2 * ready.recipe.batch])
    started = time.perf_counter()
    train(chosen)
    trained = time.perf_counter() - started
    model.eval()
    rows = [[replace(row, example=place) for row in ready.train.rows[number]] for place, number in enumerate(chosen)]
    example_logits(model, rows[:8])
    started = time.perf_counter()
    example_logits(model, rows)
    return {"train": trained, "predict": time.perf_counter() - started}


def trainer(ready: Any, chosen: list[int], folder: Path) -> dict[str, float]:
    """Seconds the transformers Trainer takes, batches in the order given."""
    import transformers
    from benchmarks.trainer_rows import trainer_row

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = ready.head.level == "tokens"
    if tokens:
        model = transformers.AutoModelForTokenClassification.from_pretrained(folder, num_labels=len(ready.head.labels))
        collator: Any = transformers.DataCollatorForTokenClassification(tokenizer)
    else:
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=len(ready.head.labels), problem_type="multi_label_classification"
        )
        collator = transformers.DataCollatorWithPadding(tokenizer)
    with tempfile.TemporaryDirectory() as out:
        settings = transformers.TrainingArguments(
            output_dir=out,
            per_device_train_batch_size=ready.recipe.batch,
            per_device_eval_batch_size=ready.recipe.batch,
            num_train_epochs=1,
            learning_rate=ready.recipe.lr,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            bf16=ready.recipe.precision == "bf16",
            train_sampling_strategy="sequential",
        )

        rows = [trainer_row(ready.train, number, ready.targets[number]) for number in chosen]
        transformers.Trainer(
            model, settings, data_collator=collator, train_dataset=rows[: 2 * ready.recipe.batch]
        ).train()
        timed = transformers.Trainer(model, settings, data_collator=collator, train_dataset=rows)
        started = time.perf_counter()
        timed.train()
        trained = time.perf_counter() - started
        timed.predict(rows[:8])
        started = time.perf_counter()
        timed.predict(rows)
        return {"train": trained, "predict": time.perf_counter() - started}


def make_model(folder: Path, size: str) -> None:
    """A model folder of random weights with the bundled model's vocabulary."""
    from pubmedbert.infer.tokenizer import ModelTokenizer
    from pubmedbert.model import hf
    from pubmedbert.model.config import SIZES
    from pubmedbert.model.encoder import initialise
    from pubmedbert.model.heads import Bert
    from pubmedbert.model.locate import BUNDLED
    from pubmedbert.vocab.folder import write_files

    tokenizer = ModelTokenizer(BUNDLED, 2**31)
    config = replace(SIZES[size], vocab_size=tokenizer.size)
    model = Bert(config, pooler=True)
    initialise(model, config, 0)
    hf.save(model, folder)
    write_files(tokenizer.pieces, folder)


if __name__ == "__main__":
    main()
