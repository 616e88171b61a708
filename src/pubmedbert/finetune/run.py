"""A fine-tuning run: several seeds on one data set, side by side, and one look at the test labels when all are done."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pubmedbert.errors import InputError
from pubmedbert.files import atomic_folder, locked, read_json, sha256, write_json, write_text
from pubmedbert.finetune import loop
from pubmedbert.finetune.data import Encoded
from pubmedbert.finetune.dataset import Dataset, Example, Tagged, fingerprint, has_pairs
from pubmedbert.finetune.recipe import Recipe
from pubmedbert.finetune.score import NOTE, RESULT, score_run
from pubmedbert.finetune.search import search
from pubmedbert.finetune.stability import Answer
from pubmedbert.finetune.workers import each_seed
from pubmedbert.infer.labels.words import way
from pubmedbert.model.tuned import Tuned
from pubmedbert.model.tuned_hf import load_tuned, save_tuned
from pubmedbert.progress import say
from pubmedbert.vocab import folder as vocabulary

Opener = Callable[[], Dataset]
"""Opens the data set; handed to worker processes, so it must be a named function or a `functools.partial` of one."""
SETTINGS = "settings.json"
MODEL = "model.safetensors"
_WEIGHTS = (MODEL, "pytorch_model.bin")
_TOKENIZER = ("tokenizer.json", "vocab.txt")
KEEP = ("all", "best", "none")


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


def finetune(job: Job, folder: Path) -> dict[str, Any]:
    """Train what is missing, then score.

    Args:
        job: what to do.
        folder: of the run: `seed-N/` (model, predictions, `seed.json`) and `result.json`; made where it is missing.

    Returns:
        What `result.json` says.

    Raises:
        InputError: `folder` holds something else, or data, model and recipe do not fit.
        ModelError: the model can't be loaded.
    """
    dataset = job.open()
    for note in dataset.notes:
        say(f"{dataset.name}: {note}")
    with locked(folder, busy=f"another process is fine-tuning in {folder}; wait for it or choose another --out"):
        settings = claim(job, dataset, folder)
        job = replace(job, recipe=replace(job.recipe, precision=settings["precision"]))
        if job.search:
            job = search(job, folder, settings)
        missing = [seed for seed in range(job.seeds) if not _done(job, folder / f"seed-{seed}")]
        if missing:
            each_seed(job, missing, folder)
        else:
            say(f"{folder} is complete: {job.seeds} seeds; nothing to do but to score them")
        about = {"model": job.model_name, "weights": settings["weights"], "recipe": asdict(job.recipe)}
        result = score_run(folder, dataset, job.seeds, test=job.test, about=about)
        best = max(result["seeds"], key=lambda entry: (not entry["collapsed"], entry["dev"]))["seed"]
        if job.keep == "best" and not (folder / f"seed-{best}" / MODEL).exists():
            each_seed(job, [best], folder)  # an earlier call kept less
        _drop_models(job, best, folder)
        return result


def _done(job: Job, seed: Path) -> bool:
    """Whether nothing is left to do for a seed."""
    scored = (seed / NOTE).exists() and (not job.test or (seed / "test.jsonl").exists())
    return scored and (job.keep != "all" or (seed / MODEL).exists())


def claim(job: Job, dataset: Dataset, folder: Path) -> dict[str, Any]:
    """Mark the folder as this run, or refuse that of another; where nothing was trained yet there is nothing to lose.

    Returns:
        What decides the outcome: data, model and settings, and the precision, as measured when the run began.
    """
    settings: dict[str, Any] = {
        "dataset": dataset.name,
        "task": dataset.task,
        "metric": dataset.metric,
        "labels": list(dataset.labels),
        "negative": dataset.negative,
        "train": fingerprint(dataset.read("train")),
        "dev": fingerprint(dataset.read("dev")),
        "model": job.model_name,
        "weights": weights(job.model),
        "tokenizer": _hash(job.model, _TOKENIZER),
        "recipe": asdict(job.recipe),
        "search": job.search,
    }
    machine = {"threads": job.threads, "torch": torch.__version__}
    path = folder / SETTINGS
    names = {entry.name for entry in folder.iterdir()}
    if not any(name.lstrip(".").startswith("seed-") for name in names):
        if other := sorted(name for name in names - {SETTINGS, RESULT} if not name.startswith(".")):
            raise InputError(f"{folder} holds {other[0]} and is no fine-tuning run; choose another --out")
        measured = {"precision": loop.settled(job.recipe)}
        write_json(path, settings | machine | measured)
        return settings | measured
    before = read_json(path)
    for key in settings.keys() - {"model"}:
        if before.get(key) != settings[key]:
            raise InputError(
                f"{folder} was made with {_difference(key, before.get(key), settings[key])}; "
                "choose another --out or the old value"
            )
    for key, value in machine.items():
        if before.get(key) != value:
            say(f"{folder} was begun with {key} {before.get(key)}, here it is {value}: the last bits may differ")
    return settings | {"precision": before.get("precision") or loop.settled(job.recipe)}


def weights(model: Path) -> str:
    """A hash of a model's weights, by which runs tell models apart, whatever they are called."""
    return _hash(model, _WEIGHTS)


def _hash(model: Path, names: Iterable[str]) -> str:
    """Of the first of some files that a model's folder has; "" where it has none."""
    return next((sha256(model / name) for name in names if (model / name).exists()), "")


def _difference(key: str, before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        key = next(name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name))
        before, now = before.get(key), now.get(key)
    if key in ("train", "dev"):
        return f"other examples in {key}"
    return f"{key} = {before!r}, now it is {now!r}"


def train_seeds(job: Job, seeds: Iterable[int], folder: Path, report: loop.Report) -> None:
    """Train seeds one after the other, each leaving `seed-N/` when it is done."""
    torch.set_num_threads(job.threads)
    ready = loop.setup(job.open(), job.recipe, job.model)
    test = loop.encoded_split(ready, "test") if job.test else None
    for seed in seeds:
        place, work = folder / f"seed-{seed}", folder / f".seed-{seed}"
        if test is not None and (place / NOTE).exists() and (place / MODEL).exists():
            note: dict[str, Any] = read_json(place / NOTE)  # trained before without the test split
            write_json(place / NOTE, note | {"test_texts": fingerprint(test[0])})
            _predict_test(ready, load_tuned(place)[0], test, place)
            continue
        started = time.perf_counter()
        fitted = loop.fit(ready, seed, report, work)
        with atomic_folder(place) as new:
            if job.keep != "none":
                _save_model(ready, fitted, new)
            write_text(new / "dev.jsonl", _lines([example.id for example in ready.dev], fitted.answers))
            if test is not None:
                _predict_test(ready, fitted.model, test, new)
            kept = ("dev", "best_epoch", "restarts", "collapsed", "history", "seconds")
            note = {"seed": seed} | {key: getattr(fitted, key) for key in kept}
            note |= {"test_texts": fingerprint(test[0]) if test else None}
            write_json(new / NOTE, note | {"total_seconds": time.perf_counter() - started})
        shutil.rmtree(work, ignore_errors=True)


def _predict_test(ready: loop.Setup, model: Tuned, test: tuple[list[Example], Encoded], folder: Path) -> None:
    examples, encoded = test
    answers = loop.predict(model, encoded, ready)
    write_text(folder / "test.jsonl", _lines([example.id for example in examples], answers))


def _save_model(ready: loop.Setup, fitted: loop.Fitted, folder: Path) -> None:
    """A model folder that transformers and `pubmedbert predict` load."""
    recipe = ready.recipe
    extra = {"task": ready.dataset.task, "dataset": ready.dataset.name, "long": recipe.long, "style": recipe.style}
    texts = 2 if has_pairs(ready.dev) else 1
    if ready.head.level == "tokens":
        extra["words"] = way(example.words for example in ready.dev if isinstance(example, Tagged))
    save_tuned(fitted.model, folder, extra | {"max_length": recipe.max_length, "texts": texts})
    vocabulary.write_files(ready.tokenizer.pieces, folder)
    config = folder / "tokenizer_config.json"
    write_json(config, read_json(config) | {"model_max_length": recipe.max_length})


def _lines(ids: Sequence[str], answers: Sequence[Answer]) -> str:
    pairs = zip(ids, answers, strict=True)
    return "".join(json.dumps({"id": name, "prediction": answer}, ensure_ascii=False) + "\n" for name, answer in pairs)


def _drop_models(job: Job, best: int, folder: Path) -> None:
    """Delete the weights of the seeds whose models are not to be kept."""
    for seed in range(job.seeds):
        if job.keep == "none" or (job.keep == "best" and seed != best):
            for name in (MODEL, "config.json"):
                (folder / f"seed-{seed}" / name).unlink(missing_ok=True)


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
