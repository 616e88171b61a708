"""A fine-tuning run: several seeds on one data set, side by side, and one look at the test labels when all are done."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pubmedbert.errors import InputError
from pubmedbert.files import atomic_folder, locked, read_json, sha256, write_json, write_text
from pubmedbert.finetune import data, loop, metrics
from pubmedbert.finetune.dataset import Dataset
from pubmedbert.finetune.recipe import Recipe
from pubmedbert.finetune.stability import Answer
from pubmedbert.finetune.workers import each_seed
from pubmedbert.model.tuned_hf import save_tuned
from pubmedbert.progress import say
from pubmedbert.vocab import folder as vocabulary

Opener = Callable[[], Dataset]
"""Opens the data set; handed to worker processes, so it must be a named function or a `functools.partial` of one."""
RESULT = "result.json"
SETTINGS = "settings.json"
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
    """Model folders that are kept: "all", the "best" on dev, or "none"."""
    workers: int = 1
    """Seeds trained side by side, each with its share of the cores."""
    threads: int = 1
    """Threads of each worker; they decide the last bits of the result."""
    test: bool = True
    """Whether the test split, where there is one, is predicted and scored."""


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
    with locked(folder, busy=f"another process is fine-tuning in {folder}; wait for it or choose another --out"):
        claim(job, dataset, folder)
        missing = [seed for seed in range(job.seeds) if not (folder / f"seed-{seed}" / "seed.json").exists()]
        if missing:
            each_seed(job, missing, folder)
        elif _scored(job, folder):
            say(f"{folder} is complete: {job.seeds} seeds; nothing to do")
            return read_json(folder / RESULT)
        result = score_run(job, dataset, folder)
        _drop_models(job, result, folder)
        return result


def claim(job: Job, dataset: Dataset, folder: Path) -> None:
    """Mark the folder as this run, or refuse a folder of another one."""
    files = [path for name in ("model.safetensors", "pytorch_model.bin") if (path := job.model / name).exists()]
    settings: dict[str, Any] = {
        "dataset": dataset.name,
        "model": job.model_name,
        "weights": sha256(files[0]) if files else "",
        "recipe": asdict(job.recipe),
        "threads": job.threads,
        "torch": torch.__version__,
    }
    path = folder / SETTINGS
    if not path.exists():
        other = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
        if other:
            raise InputError(f"{folder} holds {other[0]} and is no fine-tuning run; choose another --out")
        write_json(path, settings)
        return
    before = read_json(path)
    for key in ("dataset", "weights", "recipe"):
        if before.get(key) != settings[key]:
            raise InputError(
                f"{folder} was made with {_difference(key, before.get(key), settings[key])}; "
                "choose another --out or the old value"
            )
    for key in ("threads", "torch"):
        if before.get(key) != settings[key]:
            say(
                f"{folder} was begun with {key} {before.get(key)}, here it is {settings[key]}: the last bits may differ"
            )


def _difference(key: str, before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        key = next(name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name))
        before, now = before.get(key), now.get(key)
    return f"{key} = {before!r}, now it is {now!r}"


def train_seeds(job: Job, seeds: Iterable[int], folder: Path, report: loop.Report) -> None:
    """Train seeds one after the other, each leaving `seed-N/` when it is done."""
    torch.set_num_threads(job.threads)
    ready = loop.setup(job.open(), job.recipe, job.model)
    test = loop.encoded_split(ready, "test") if job.test else None
    for seed in seeds:
        started = time.perf_counter()
        work = folder / f".seed-{seed}"
        fitted = loop.fit(ready, seed, report, work)
        answers = None if test is None else loop.predict(fitted.model, test[1], ready)
        with atomic_folder(folder / f"seed-{seed}") as new:
            if job.keep != "none":
                _save_model(ready, fitted, new)
            ids = [example.id for example in ready.dev]
            write_text(new / "dev.jsonl", _lines(ids, fitted.answers))
            if test is not None and answers is not None:
                write_text(new / "test.jsonl", _lines([example.id for example in test[0]], answers))
            kept = ("dev", "best_epoch", "restarts", "collapsed", "history", "seconds")
            note = {"seed": seed} | {key: getattr(fitted, key) for key in kept}
            write_json(new / "seed.json", note | {"total_seconds": time.perf_counter() - started})
        shutil.rmtree(work, ignore_errors=True)


def _save_model(ready: loop.Setup, fitted: loop.Fitted, folder: Path) -> None:
    """A model folder that transformers and `pubmedbert predict` load."""
    recipe = ready.recipe
    extra = {"task": ready.dataset.task, "dataset": ready.dataset.name, "long": recipe.long, "style": recipe.style}
    save_tuned(fitted.model, folder, extra | {"max_length": recipe.max_length})
    vocabulary.write_files(ready.tokenizer.pieces, folder)
    config = folder / "tokenizer_config.json"
    write_json(config, read_json(config) | {"model_max_length": recipe.max_length})


def _lines(ids: Sequence[str], answers: Sequence[Answer]) -> str:
    pairs = zip(ids, answers, strict=True)
    return "".join(json.dumps({"id": name, "prediction": answer}, ensure_ascii=False) + "\n" for name, answer in pairs)


def read_predictions(path: Path) -> list[tuple[str, Answer]]:
    """Ids and answers of a `dev.jsonl` or `test.jsonl`.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        pairs = [(line["id"], line["prediction"]) for line in lines]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no predictions: {error}") from error
    return [(name, tuple(answer) if isinstance(answer, list) else answer) for name, answer in pairs]


def score_run(job: Job, dataset: Dataset, folder: Path) -> dict[str, Any]:
    """The final scorer: reads the test labels once, for all seeds, and writes `result.json`."""
    notes = [read_json(folder / f"seed-{seed}" / "seed.json") for seed in range(job.seeds)]
    kept = ("seed", "dev", "best_epoch", "restarts", "collapsed", "seconds")
    seeds: list[dict[str, Any]] = [{key: note[key] for key in kept} for note in notes]
    counts = {split: len(dataset.read(split)) for split in ("train", "dev")}
    if job.test:
        gold = dataset.read("test")
        counts["test"] = len(gold)
        truth = [data.gold(example) for example in gold]
        ids = [example.id for example in gold]
        for entry in seeds:
            path = folder / f"seed-{entry['seed']}" / "test.jsonl"
            found = read_predictions(path)
            if [name for name, _ in found] != ids:
                raise InputError(f"{path} does not hold the examples of the test split of {dataset.name}")
            answers = [answer for _, answer in found]
            entry["test"] = metrics.score(
                dataset.metric, truth, answers, labels=dataset.labels, negative=dataset.negative
            )
            entry["details"] = metrics.details(
                dataset.metric, truth, answers, labels=dataset.labels, negative=dataset.negative
            )
    metric = metrics.of(dataset.metric)
    result: dict[str, Any] = {
        "dataset": dataset.name,
        "task": dataset.task,
        "metric": metric.name,
        "title": metric.title,
        "definition": metric.definition,
        "model": job.model_name,
        "recipe": asdict(job.recipe),
        "counts": counts,
        "notes": list(dataset.notes),
        "seeds": seeds,
        "dev": _summary([entry["dev"] for entry in seeds]),
    }
    if job.test:
        result["test"] = _summary([entry["test"] for entry in seeds])
    write_json(folder / RESULT, result)
    return result


def _summary(scores: list[float]) -> dict[str, float | None]:
    return {"mean": statistics.fmean(scores), "sd": statistics.stdev(scores) if len(scores) > 1 else None}


def _scored(job: Job, folder: Path) -> bool:
    """Whether `result.json` is of just these seeds."""
    path = folder / RESULT
    if not path.exists():
        return False
    result: dict[str, Any] = read_json(path)
    return len(result["seeds"]) == job.seeds and ("test" in result) == job.test


def _drop_models(job: Job, result: dict[str, Any], folder: Path) -> None:
    """Delete the weights of all seeds but the best on dev, where only that one is to be kept."""
    if job.keep != "best":
        return
    best = max(result["seeds"], key=lambda entry: entry["dev"])["seed"]
    for seed in range(job.seeds):
        if seed != best:
            (folder / f"seed-{seed}" / "model.safetensors").unlink(missing_ok=True)
            (folder / f"seed-{seed}" / "config.json").unlink(missing_ok=True)


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
