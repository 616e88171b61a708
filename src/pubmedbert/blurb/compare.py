"""Two fine-tuning runs on one test set: the difference of their scores, and what chance would make of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pubmedbert.blurb import registry
from pubmedbert.blurb.drive import opener
from pubmedbert.errors import InputError
from pubmedbert.files import read_json
from pubmedbert.finetune import bootstrap
from pubmedbert.finetune.data import gold as gold_of
from pubmedbert.finetune.dataset import Dataset, Example
from pubmedbert.finetune.predictions import read_answers
from pubmedbert.finetune.score import RESULT
from pubmedbert.finetune.stability import Answer


def compare_runs(first: Path, second: Path, folder: Path | None, own: str = "", resamples: int = 10_000) -> str:
    """The difference of two runs' test scores, with its interval, as a sentence.

    Args:
        first: folder of a run.
        second: of another.
        folder: holds the BLURB data sets.
        own: the TOML file, where the data set is the user's own.
        resamples: how many.

    Raises:
        InputError: the runs are of different data sets or of another test split, or have no test predictions.
    """
    if resamples < 1:
        raise InputError(f"resamples must be a whole number from 1, not {resamples}")
    results = [_result(run) for run in (first, second)]
    name = results[0]["dataset"]
    if results[1]["dataset"] != name:
        raise InputError(
            f"{first} is a run on {name}, {second} on {results[1]['dataset']}; compare runs on one data set"
        )
    dataset, gold, answers = _read(first, results[0], folder, own)
    _, _, others = _read(second, results[1], folder, own)
    documents = [example.document for example in gold]
    found = bootstrap.paired(
        dataset.metric,
        [gold_of(example) for example in gold],
        answers,
        others,
        labels=dataset.labels,
        negative=dataset.negative,
        documents=documents if all(documents) else (),
        resamples=resamples,
    )
    what = "documents" if all(documents) and found.drawn < len(gold) else "examples"
    seeds = "" if len(answers) == len(others) == 1 else f" and the seeds ({len(answers)} and {len(others)})"
    return (
        f"{name}: {results[0]['title']} of {first} minus {second}: {100 * found.difference:+.2f} "
        f"[{100 * found.low:+.2f}, {100 * found.high:+.2f}], p = {found.p:.4f} "
        f"(bootstrap over {found.drawn:,} {what}{seeds}, {found.resamples:,} resamples)"
    )


def _result(run: Path) -> dict[str, Any]:
    result = read_json(run / RESULT)
    seeds, texts = result.get("seeds"), [result.get(key) for key in ("dataset", "title", "metric")]
    sound = all(isinstance(text, str) for text in texts) and isinstance(result.get("recipe"), dict)
    if not sound or not isinstance(seeds, list) or not seeds:
        raise InputError(f"{run / RESULT} is no result of a fine-tuning run")
    return result


def _read(
    run: Path, result: dict[str, Any], folder: Path | None, own: str
) -> tuple[Dataset, Sequence[Example], list[list[Answer]]]:
    """The data set as the run saw it, its test split, and the run's answers to that, for each seed."""
    if not own and result["dataset"] not in registry.NAMES:
        raise InputError(f"{run} is a run on your own data {result['dataset']}: name its TOML file with --dataset")
    if "test" not in result:
        raise InputError(f"{run} was not scored on a test split: run finetune without --no-test")
    dataset = opener(own or result["dataset"], folder, result["recipe"].get("style", "dummies"))()
    if (dataset.name, dataset.metric) != (result["dataset"], result["metric"]):
        was = f"{result['dataset']} with {result['metric']}"
        raise InputError(f"{run} is a run on {was}, not on {dataset.name} with {dataset.metric}")
    gold = dataset.read("test")
    seeds = range(len(result["seeds"]))
    return dataset, gold, [read_answers(run / f"seed-{seed}", dataset, gold) for seed in seeds]
