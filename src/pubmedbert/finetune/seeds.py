"""What is to be fine-tuned, and its seeds one by one, each of which leaves a folder."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pubmedbert.files import atomic_folder, read_json, write_json, write_text
from pubmedbert.finetune import loop
from pubmedbert.finetune.data import Encoded
from pubmedbert.finetune.dataset import Dataset, Example, Tagged, fingerprint, has_pairs
from pubmedbert.finetune.predictions import NOTE, TEST
from pubmedbert.finetune.recipe import Recipe
from pubmedbert.finetune.stability import Answer
from pubmedbert.infer.labels.words import way
from pubmedbert.model.tuned import Tuned
from pubmedbert.model.tuned_hf import load_tuned, save_tuned
from pubmedbert.vocab import folder as vocabulary

Opener = Callable[[], Dataset]
"""Opens the data set; handed to worker processes, so it must be a named function or a `functools.partial` of one."""
MODEL = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be fine-tuned, on what, how."""

    open: Opener
    """Opens the data set."""
    model: Path
    """The pretrained model's folder."""
    model_name: str
    """How the user named it."""
    recipe: Recipe
    seeds: int = 5
    """Runs with different new weights, order and dropout: 0 to seeds - 1."""
    keep: str = "all"
    """Model folders that are kept: "all", the "best" on dev (one that collapsed only if all did), or "none"."""
    workers: int = 1
    """Seeds trained side by side, each with its share of the cores."""
    threads: int = 1
    """Threads of each worker; they decide the last bits of the result."""
    test: bool = True
    """Whether the test split, where there is one, is predicted and scored."""
    search: int = 0
    """Settings of the grid that are tried on dev first."""
    fixed: tuple[str, ...] = ()
    """Settings that a search leaves alone, because the user chose them."""


def train_seeds(job: Job, seeds: Iterable[int], folder: Path, report: loop.Report) -> None:
    """Train seeds one after the other, each leaving `seed-N/` when it is done."""
    torch.set_num_threads(job.threads)
    ready = loop.setup(job.open(), job.recipe, job.model)
    test = loop.encoded_split(ready, "test") if job.test else None
    for seed in seeds:

        def tell(what: str, seed: int = seed) -> None:
            report(loop.News(f"seed {seed}: {what}"))

        place, work = folder / f"seed-{seed}", folder / f".seed-{seed}"
        if test is not None and (place / NOTE).exists() and (place / MODEL).exists():
            note: dict[str, Any] = read_json(place / NOTE)  # trained before without the test split
            write_json(place / NOTE, note | {"test_texts": fingerprint(test[0])})
            _predict_test(ready, load_tuned(place)[0], test, place, tell)
            continue
        started = time.perf_counter()
        fitted = loop.fit(ready, seed, report, work)
        with atomic_folder(place) as new:
            if job.keep != "none":
                _save_model(ready, fitted, new)
            write_text(new / "dev.jsonl", _lines([example.id for example in ready.dev], fitted.answers))
            if test is not None:
                _predict_test(ready, fitted.model, test, new, tell)
            kept = ("dev", "best_epoch", "restarts", "collapsed", "history", "seconds")
            note = {"seed": seed} | {key: getattr(fitted, key) for key in kept}
            note |= {"test_texts": fingerprint(test[0]) if test else None}
            write_json(new / NOTE, note | {"total_seconds": time.perf_counter() - started})
        shutil.rmtree(work, ignore_errors=True)


def _predict_test(
    ready: loop.Setup,
    model: Tuned,
    test: tuple[list[Example], Encoded],
    folder: Path,
    tell: Callable[[str], None],
) -> None:
    examples, encoded = test
    answers = loop.predict(model, encoded, ready, lambda share: tell(f"predicting test: {share:.0%}"))
    write_text(folder / TEST, _lines([example.id for example in examples], answers))


def _save_model(ready: loop.Setup, fitted: loop.Fitted, folder: Path) -> None:
    """A model folder that transformers and `pubmedbert predict` load."""
    recipe = ready.recipe
    extra = {"task": ready.dataset.task, "dataset": ready.dataset.name, "long": recipe.long, "style": recipe.style}
    texts = 2 if has_pairs(ready.dev) else 1
    if ready.head.level == "tokens":
        examples = (*ready.dataset.read("train"), *ready.dev)
        extra["words"] = way(example.words for example in examples if isinstance(example, Tagged))
    save_tuned(fitted.model, folder, extra | {"max_length": recipe.max_length, "texts": texts})
    vocabulary.write_files(ready.tokenizer.pieces, folder)
    config = folder / "tokenizer_config.json"
    write_json(config, read_json(config) | {"model_max_length": recipe.max_length})


def _lines(ids: Sequence[str], answers: Sequence[Answer]) -> str:
    pairs = zip(ids, answers, strict=True)
    return "".join(json.dumps({"id": name, "prediction": answer}, ensure_ascii=False) + "\n" for name, answer in pairs)
