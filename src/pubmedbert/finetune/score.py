"""The final scorer of a run: the one place that reads test labels, once, when every seed is done."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pubmedbert.errors import InputError
from pubmedbert.files import read_json, write_json
from pubmedbert.finetune import data, metrics
from pubmedbert.finetune.dataset import Dataset, Example, Split, fingerprint, hidden, labels_of
from pubmedbert.finetune.stability import Answer

RESULT = "result.json"
NOTE = "seed.json"
_OF_A_SEED = ("seed", "dev", "best_epoch", "restarts", "collapsed", "seconds")


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
    notes: list[dict[str, Any]] = [read_json(folder / f"seed-{seed}" / NOTE) for seed in range(seeds)]
    entries: list[dict[str, Any]] = [{key: note[key] for key in _OF_A_SEED} for note in notes]
    splits: list[Split] = ["train", "dev", "test"] if test else ["train", "dev"]
    read = {split: dataset.read(split) for split in splits}
    strange = [remark for split, examples in read.items() if (remark := dataset.remark(split, examples))]
    remarks = [*dataset.notes, *strange]
    if test:
        gold = read["test"]
        remarks += _unlearned(gold, dataset)
        for entry, note in zip(entries, notes, strict=True):
            path = folder / f"seed-{entry['seed']}" / "test.jsonl"
            entry |= _scored(path, dataset, gold, note.get("test_texts"))
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


def _scored(path: Path, dataset: Dataset, gold: Sequence[Example], texts: object) -> dict[str, Any]:
    """The test score of a seed, and what it is made of."""
    found = read_predictions(path)
    if [name for name, _ in found] != [example.id for example in gold] or texts != fingerprint(hidden(gold)):
        raise InputError(
            f"{path} was predicted for other texts than the test split of {dataset.name} has now; choose another --out"
        )
    truth, answers = [data.gold(example) for example in gold], [answer for _, answer in found]
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


def read_predictions(path: Path) -> list[tuple[str, Answer]]:
    """Ids and answers of a `dev.jsonl` or `test.jsonl`.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    found: list[tuple[str, Answer]] = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            name, answer = record["id"], record["prediction"]
        except (ValueError, RecursionError, TypeError, KeyError) as error:
            raise InputError(f'{path}, line {number}: a JSON object with "id" and "prediction" is wanted') from error
        found.append((name, tuple(answer) if isinstance(answer, list) else answer))
    return found


def _summary(scores: list[float]) -> dict[str, float | None]:
    return {"mean": statistics.fmean(scores), "sd": statistics.stdev(scores) if len(scores) > 1 else None}
