"""The same fine-tuning by the transformers Trainer and here: is the F1 the same within the noise of the seeds?

    python -m benchmarks.parity --model MODEL --data DATA [--examples 1200] [--epochs 3] [--seeds 5]

Both start from the same weights and train on the same examples of NCBI-disease with the same batch size, learning rate,
warm-up, decay, clipping and dropout; order, new weights and dropped activations differ, as between two seeds. Both are
scored by the same code, with the last epoch's weights. Needs the `dev` extra.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from benchmarks.machine import place
from benchmarks.trainer_rows import trainer_row

from pubmedbert.blurb.datasets import open_dataset
from pubmedbert.finetune import bootstrap, data, loop
from pubmedbert.finetune.dataset import Dataset, Example, Split, hidden
from pubmedbert.finetune.recipe import Recipe
from pubmedbert.finetune.stability import Answer
from pubmedbert.model.locate import locate


def main() -> None:
    """Train all seeds of both, one after the other, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    whole = open_dataset("ncbi-disease", given.data)

    def read(split: Split) -> Sequence[Example]:
        return list(whole.read(split))[: given.examples] if split == "train" else whole.read(split)

    dataset = Dataset(whole.name, whole.task, whole.metric, whole.labels, read)
    folder = locate(given.model)
    ready = loop.setup(dataset, Recipe(lr=given.lr, epochs=given.epochs, select="last", restarts=0), folder)
    print(f"{place()}; the Trainer in fp32, pubmedbert in {ready.recipe.precision}", flush=True)
    test = dataset.read("test")
    encoded = data.encode(hidden(test), ready.encoder, ready.recipe)
    scores: dict[str, list[float]] = {"trainer": [], "pubmedbert": []}
    for seed in range(given.seeds):
        for name in scores:
            started = time.perf_counter()
            answers = theirs(ready, seed, encoded, folder) if name == "trainer" else ours(ready, seed, encoded)
            scores[name].append(loop.score_answers(dataset, test, answers))
            spent = time.perf_counter() - started
            print(f"seed {seed}, {name}: test entity F1 {scores[name][-1]:.2%}, {spent:,.0f} s", flush=True)
    for name, found in scores.items():
        print(f"{name}: {100 * statistics.fmean(found):.2f} ± {100 * statistics.stdev(found):.2f}")
    mean = bootstrap.interval(scores["pubmedbert"], scores["trainer"]).mean
    print(f"difference {100 * mean.value:+.2f} [{100 * mean.low:+.2f}, {100 * mean.high:+.2f}] (bootstrap over seeds)")


def ours(ready: loop.Setup, seed: int, encoded: data.Encoded) -> list[Answer]:
    """Answers of a model trained here."""
    return loop.predict(loop.fit(ready, seed, lambda *_: None).model, encoded, ready)


def theirs(ready: loop.Setup, seed: int, encoded: data.Encoded, folder: Path) -> list[Answer]:
    """Answers of a model trained by the Trainer."""
    import transformers

    transformers.set_seed(seed)
    recipe = ready.recipe
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder, num_labels=len(ready.head.labels))
    updates = math.ceil(len(ready.train.rows) / recipe.batch) * recipe.epochs
    with tempfile.TemporaryDirectory() as out:
        settings = transformers.TrainingArguments(
            output_dir=out,
            per_device_train_batch_size=recipe.batch,
            per_device_eval_batch_size=recipe.batch,
            num_train_epochs=recipe.epochs,
            learning_rate=recipe.lr,
            warmup_steps=round(recipe.warmup * updates),
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.clip,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            seed=seed,
        )
        collator = transformers.DataCollatorForTokenClassification(tokenizer)
        rows = [trainer_row(ready.train, number, ready.targets[number]) for number in range(len(ready.train.rows))]
        trainer = transformers.Trainer(model, settings, data_collator=collator, train_dataset=rows)
        trainer.train()
        asked = [trainer_row(encoded, number, None) for number in range(len(encoded.rows))]
        logits = trainer.predict(asked).predictions  # [E, T, C], padded
    return [
        data.answer(np.asarray(logits[number])[list(rows[0].where)], ready.dataset.task, ready.head)
        for number, rows in enumerate(encoded.rows)
    ]


if __name__ == "__main__":
    main()
