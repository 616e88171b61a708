"""A fine-tuning run: several seeds on one data set, side by side, and one look at the test labels when all are done."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from pubmedbert.errors import InputError
from pubmedbert.files import locked, read_json, sha256, write_json
from pubmedbert.finetune import loop
from pubmedbert.finetune.dataset import Dataset, fingerprint
from pubmedbert.finetune.predictions import NOTE, TEST
from pubmedbert.finetune.score import RESULT, score_run
from pubmedbert.finetune.search import LOG, search
from pubmedbert.finetune.seeds import MODEL, Job
from pubmedbert.finetune.workers import each_seed
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model.checkpoint import read_config
from pubmedbert.model.config import ModelError, config_from_hf
from pubmedbert.progress import say

SETTINGS = "settings.json"
_WEIGHTS = (MODEL, "pytorch_model.bin")
KEEP = ("all", "best", "none")


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
        try:
            job = _train(job, folder, settings)
        except (InputError, ModelError):
            if not _begun(folder):  # nothing was trained: nothing stays
                (folder / SETTINGS).unlink(missing_ok=True)
            raise
        about = {"model": job.model_name, "weights": settings["weights"], "recipe": asdict(job.recipe)}
        result = score_run(folder, dataset, job.seeds, test=job.test, about=about)
        best = max(result["seeds"], key=lambda entry: (not entry["collapsed"], entry["dev"]))["seed"]
        if job.keep == "best" and not (folder / f"seed-{best}" / MODEL).exists():
            each_seed(job, [best], folder)  # an earlier call kept less
            result = score_run(folder, dataset, job.seeds, test=job.test, about=about)  # of what lies there now
        _drop_models(job, best, folder)
        for left in (*folder.glob(".seed-*"), *folder.glob(".search-*")):  # of a process killed before it cleared up
            shutil.rmtree(left, ignore_errors=True)
        return result


def _train(job: Job, folder: Path, settings: dict[str, Any]) -> Job:
    """Search where that is asked for, and train the seeds that are missing; returns the job with what was found."""
    if job.search:
        if job.test:
            job.open().read("test")  # damage there is told before hours of trials
        job = search(job, folder, settings)
    missing = [seed for seed in range(job.seeds) if not _done(job, folder / f"seed-{seed}")]
    if missing:
        each_seed(job, missing, folder)
    else:
        say(f"{folder} is complete: {job.seeds} seeds; nothing to do but to score them")
    return job


def _begun(folder: Path) -> bool:
    """Whether anything was trained in a folder, if only a part of a seed or of a search."""
    return _seeds_begun(folder) or (folder / LOG).exists()


def _seeds_begun(folder: Path) -> bool:
    return any(entry.name.lstrip(".").startswith("seed-") for entry in folder.iterdir())


def _done(job: Job, seed: Path) -> bool:
    """Whether nothing is left to do for a seed."""
    scored = (seed / NOTE).exists() and (not job.test or (seed / TEST).exists())
    return scored and (job.keep != "all" or (seed / MODEL).exists())


def claim(job: Job, dataset: Dataset, folder: Path) -> dict[str, Any]:
    """Mark the folder as this run, or refuse that of another; where nothing was trained yet there is nothing to lose.

    Returns:
        What decides the outcome: data, model and settings, and the precision, as measured when the run began.
    """
    config = replace(config_from_hf(read_config(job.model)), dropout=0, attention_dropout=0)  # the recipe's count
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
        "shape": asdict(config),
        "tokenizer": ModelTokenizer(job.model, config.vocab_size).fingerprint,
        "recipe": asdict(job.recipe),
        "search": job.search,
    }
    if job.search:
        settings["fixed"] = sorted(job.fixed)
    machine = {"threads": job.threads, "torch": torch.__version__}
    path = folder / SETTINGS
    names = {entry.name for entry in folder.iterdir()}
    if not _begun(folder):
        if other := sorted(name for name in names - {SETTINGS, RESULT} if not name.startswith(".")):
            raise InputError(f"{folder} holds {other[0]} and is no fine-tuning run; choose another --out")
        measured: dict[str, Any] = {"precision": loop.settled(job.recipe)}
        write_json(path, settings | machine | measured)
        return settings | measured
    before = read_json(path)
    if "shape" not in before:
        raise InputError(f"{folder} was begun by an older version of pubmedbert; choose another --out")
    free = {"model"} if _seeds_begun(folder) else {"model", "search"}  # a search may be made longer
    for key in settings:
        if key not in free and before.get(key) != settings[key]:
            raise InputError(
                f"{folder} was made with {_difference(key, before.get(key), settings[key])}; "
                "choose another --out or the old value"
            )
    for key, value in machine.items():
        if before.get(key) != value:
            say(f"{folder} was begun with {key} {before.get(key)}, here it is {value}: the last bits may differ")
    measured = {"precision": before.get("precision") or loop.settled(job.recipe)}
    if not _seeds_begun(folder):
        write_json(path, settings | machine | measured)
    return settings | measured


def weights(model: Path) -> str:
    """A hash of a model's weights, by which runs tell models apart, whatever they are called."""
    return next((sha256(model / name) for name in _WEIGHTS if (model / name).exists()), "")


def _difference(key: str, before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        key = next(name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name))
        before, now = before.get(key), now.get(key)
    if key in ("train", "dev"):
        return f"other examples in {key}"
    return f"{key} = {before!r}, now it is {now!r}"


def _drop_models(job: Job, best: int, folder: Path) -> None:
    """Delete the weights of the seeds whose models are not to be kept."""
    for seed in range(job.seeds):
        if job.keep == "none" or (job.keep == "best" and seed != best):
            for name in (MODEL, "config.json"):
                (folder / f"seed-{seed}" / name).unlink(missing_ok=True)
