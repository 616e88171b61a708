"""The final scorer of a run: the one place that reads test labels, once, when every seed is done."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pubmedbert.files import write_json
from pubmedbert.finetune import data, metrics
from pubmedbert.finetune.dataset import Dataset, Example, Split, labels_of
from pubmedbert.finetune.predictions import OF_A_SEED, read_answers, read_note

RESULT = "result.json"


def score_run(folder: Path, dataset: Dataset, seeds: int, *, test: bool, about: dict[str, Any]) -> dict[str, Any]:
    """Score the predictions of all seeds and write `result.json`.

    Args:
        folder: of the run.
        dataset: its data set.
        seeds: how many it has.
        test: whether the test split is scored.
        about: of the model and the recipe, for the result.

    Returns:
        What `result.json` says.

    Raises:
        InputError: predictions are missing, damaged, or of other examples.
    """
    notes = [read_note(folder / f"seed-{seed}") for seed in range(seeds)]
    entries: list[dict[str, Any]] = [{key: note[key] for key in OF_A_SEED} for note in notes]
    splits: list[Split] = ["train", "dev", "test"] if test else ["train", "dev"]
    read = {split: dataset.read(split) for split in splits}
    strange = [remark for split, examples in read.items() if (remark := dataset.remark(split, examples))]
    remarks = [*dataset.notes, *strange]
    if test:
        gold = read["test"]
        remarks += _unlearned(gold, dataset)
        for seed, entry in enumerate(entries):
            entry |= _scored(folder / f"seed-{seed}", dataset, gold)
    metric = metrics.of(dataset.metric)
    result: dict[str, Any] = {
        "dataset": dataset.name,
        "task": dataset.task,
        "metric": metric.name,
        "title": metric.title,
        "definition": metric.definition,
        **about,
        "counts": {split: len(examples) for split, examples in read.items()},
        "notes": remarks,
        "comparable": not strange,
        "seeds": entries,
        "dev": _summary([entry["dev"] for entry in entries]),
    }
    if test:
        result["test"] = _summary([entry["test"] for entry in entries])
    write_json(folder / RESULT, result)
    return result


def _scored(folder: Path, dataset: Dataset, gold: Sequence[Example]) -> dict[str, Any]:
    """The test score of a seed, and what it is made of."""
    truth, answers = [data.gold(example) for example in gold], read_answers(folder, dataset, gold)
    how: dict[str, Any] = {"labels": dataset.labels, "negative": dataset.negative}
    return {
        "test": metrics.score(dataset.metric, truth, answers, **how),
        "details": metrics.details(dataset.metric, truth, answers, **how),
    }


def _unlearned(gold: Sequence[Example], dataset: Dataset) -> list[str]:
    """A remark on labels of the test split that the model has no class for."""
    held = {label for example in gold for label in labels_of(example, dataset.task)}
    strange = sorted(held - set(dataset.labels))
    return [f"The test split has labels that the other splits lack: {', '.join(strange)}."] if strange else []


def _summary(scores: list[float]) -> dict[str, float | None]:
    return {"mean": statistics.fmean(scores), "sd": statistics.stdev(scores) if len(scores) > 1 else None}
