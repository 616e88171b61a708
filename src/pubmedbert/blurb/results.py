"""The results of fine-tuning, read back from a report's folder and put together."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from pubmedbert.blurb.registry import ENTRIES, GROUPS, NAMES, title
from pubmedbert.blurb.score import blurb_score, blurb_sd, task_means, task_sds
from pubmedbert.errors import InputError
from pubmedbert.files import read_json
from pubmedbert.finetune import metrics


@dataclass(frozen=True)
class Score:
    """A mean in percent (of correlations: times 100) and its standard deviation (n - 1); None for one seed."""

    mean: float
    sd: float | None

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if self.sd is None else f"{self.mean:.2f} ± {self.sd:.2f}"


@dataclass(frozen=True)
class Seed:
    """One run of fine-tuning."""

    seed: int
    dev: float
    """In percent."""
    test: float | None
    """In percent; None where the test set was not scored."""
    restarts: int
    """How often training had collapsed and was begun anew."""
    collapsed: bool
    """Whether it collapsed even so."""
    seconds: float
    best_epoch: int | None


@dataclass(frozen=True)
class Result:
    """All runs of one data set."""

    folder: Path
    dataset: str
    task: str
    metric: metrics.Metric
    definition: str
    model: str
    weights: str
    """A hash of the pretrained model's weights, "" where it is not told."""
    recipe: dict[str, object]
    counts: dict[str, object]
    """Examples in each split."""
    notes: tuple[str, ...]
    seeds: tuple[Seed, ...]
    comparable: bool
    """Whether its data are those that published scores are of."""

    @property
    def caveat(self) -> str:
        """What a reader must know before its scores are compared; "" where there is nothing."""
        fallen = sum(seed.collapsed for seed in self.seeds)
        said = [f"{fallen} of {len(self.seeds)} seeds collapsed"] if fallen else []
        return "; ".join(said if self.comparable else [*said, "other data than published"])

    @property
    def title(self) -> str:
        """The data set's name as papers write it."""
        return title(self.dataset)

    @property
    def dev(self) -> Score:
        """Over the seeds."""
        return _score([seed.dev for seed in self.seeds])

    @property
    def test(self) -> Score | None:
        """Over the seeds; None where the test set was not scored."""
        values = [seed.test for seed in self.seeds if seed.test is not None]
        return _score(values) if values else None

    @property
    def best(self) -> Seed:
        """The seed that is best on the dev set, the first of equals; one that collapsed only if all did."""
        return max(self.seeds, key=lambda seed: (not seed.collapsed, seed.dev))


@dataclass(frozen=True)
class Summary:
    """What a report tells of a model."""

    model: str
    results: tuple[Result, ...]
    """In the order of BLURB; other data sets come last."""
    missing: dict[str, str]
    """Data sets without a test score, and why."""
    tasks: dict[str, Score]
    """Of the task types that are complete."""
    blurb: Score | None
    """None unless all 13 are there."""

    def mean(self, task: str = "") -> Score | None:
        """The mean of a task type, or, by default, the BLURB score; None where it is incomplete."""
        return self.tasks.get(task) if task else self.blurb

    def caveat(self, task: str = "") -> str:
        """What is to be known of the data sets behind a mean: of a task type, or, by default, the BLURB score."""
        counted = [result for result in self.results if (kind := task_type(result.dataset)) and task in ("", kind)]
        return "; ".join(f"{result.title}: {result.caveat}" for result in counted if result.caveat)

    @property
    def incomplete(self) -> str:
        """Why there is no BLURB score, as a sentence; "" where there is one."""
        if self.blurb is not None:
            return ""
        absent = sum(name in self.missing for name in NAMES)
        has = "has" if absent == 1 else "have"
        tasks = ", ".join(task for task in GROUPS if task not in self.tasks)
        return (
            f"There is no BLURB score, for {absent} of its {len(NAMES)} data sets {has} no test score; "
            f"so these task types have no mean: {tasks}."
        )


def summarize(folder: Path, missing: Mapping[str, str], failed: Mapping[str, str]) -> Summary:
    """Read all results of a report.

    Args:
        folder: with a folder for each data set, that has a `result.json`; unfinished ones have none.
        missing: data sets that were not run, and why.
        failed: data sets that could not be run, and why; earlier results of theirs are passed over.

    Raises:
        InputError: there is no result, one is damaged, or they are of several models.
    """
    results = []
    for path in sorted(folder.glob("*/result.json")):
        if path.parent.name not in failed:
            try:
                results.append(_read(path))
            except InputError:
                if path.parent.name not in missing:  # else it is still to be written anew
                    raise
    if not results:
        raise InputError(f"{folder} holds no result: a folder for each data set, with its result.json, is wanted")
    models = sorted({result.model for result in results})
    if len({result.weights or result.model for result in results}) > 1:
        several = f"models ({', '.join(models)})" if len(models) > 1 else f"weights of {models[0]}"
        raise InputError(f"{folder} holds results of several {several}; a report is of one model")
    results.sort(key=lambda result: _place(result.dataset))
    tests = {result.dataset: test for result in results if (test := result.test)}
    means = {name: test.mean for name, test in tests.items()}
    sds = {name: test.sd for name, test in tests.items() if test.sd is not None}
    task_sd = task_sds(sds)
    return Summary(
        model=models[0],
        results=tuple(results),
        missing=_missing({result.dataset for result in results}, set(tests), {**missing, **failed}),
        tasks={task: Score(mean, task_sd.get(task)) for task, mean in task_means(means).items()},
        blurb=Score(blurb_score(means), blurb_sd(sds)) if means.keys() >= set(NAMES) else None,
    )


def check_model(folder: Path, weights: str) -> None:
    """Refuse a report's folder that holds results of another model than is to be run, or foreign ones.

    Args:
        folder: of the report.
        weights: a hash of those of the model.

    Raises:
        InputError: it does, or a result that no run of a BLURB data set will write anew can't be read.
    """
    for path in sorted(folder.glob("*/result.json")):
        try:
            result = _read(path)
        except InputError as error:
            if path.parent.name in NAMES:  # it is written anew when its data set has run
                continue
            raise InputError(f"{error}; move {path.parent} away") from error
        if result.weights and result.weights != weights:
            raise InputError(
                f"{path} is of other weights ({result.model}); a report is of one model: choose another --out"
            )


def task_type(dataset: str) -> str:
    """The task type of BLURB that a data set is of, "" for other data sets."""
    return ENTRIES[dataset].group if dataset in ENTRIES else ""


def _place(dataset: str) -> tuple[int, str]:
    return (NAMES.index(dataset) if dataset in NAMES else len(NAMES), dataset)


def _missing(run: set[str], scored: set[str], told: Mapping[str, str]) -> dict[str, str]:
    """Every data set of BLURB or of the caller's that has no test score, with a reason."""
    reasons = {name: "its test set was not scored" if name in run else "it was not run" for name in NAMES}
    return {name: reason for name, reason in (reasons | dict(told)).items() if name not in scored}


def _score(values: list[float]) -> Score:
    return Score(fmean(values), stdev(values) if len(values) > 1 else None)


def _read(path: Path) -> Result:
    values = read_json(path)
    text = {key: _text(path, values, key) for key in ("dataset", "task", "metric", "definition", "model")}
    if text["dataset"] != path.parent.name:
        raise InputError(f"{path}: its data set is {text['dataset']!r}, so its folder must have that name")
    if text["metric"] not in metrics.METRICS:
        raise InputError(f"{path}: no metric {text['metric']!r}; there are {', '.join(metrics.METRICS)}")
    seeds, notes = values.get("seeds"), values.get("notes", [])
    if not isinstance(seeds, list) or not seeds or not all(isinstance(seed, dict) for seed in seeds):
        raise InputError(f'{path}: "seeds" must be a list of objects, one for each run')
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise InputError(f'{path}: "notes" must be a list of sentences')
    runs = tuple(_seed(path, seed) for seed in seeds)
    if len({seed.test is None for seed in runs}) > 1:
        raise InputError(f"{path}: some seeds have a test score and some have none; all or none is wanted")
    return Result(
        folder=path.parent,
        dataset=text["dataset"],
        task=text["task"],
        metric=metrics.METRICS[text["metric"]],
        definition=text["definition"],
        model=text["model"],
        weights=str(values.get("weights", "")),
        recipe=_object(path, values, "recipe"),
        counts=_object(path, values, "counts"),
        notes=tuple(notes),
        seeds=runs,
        comparable=bool(values.get("comparable", True)),
    )


def _seed(path: Path, values: dict[str, object]) -> Seed:
    best = values.get("best_epoch")
    return Seed(
        seed=int(_number(path, values, "seed")),
        dev=100 * _number(path, values, "dev"),
        test=None if values.get("test") is None else 100 * _number(path, values, "test"),
        restarts=int(_number(path, values, "restarts")),
        collapsed=bool(values.get("collapsed", False)),
        seconds=_number(path, values, "seconds"),
        best_epoch=None if best is None else int(_number(path, values, "best_epoch")),
    )


def _number(path: Path, values: dict[str, object], key: str) -> float:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f'{path}: "{key}" of every seed must be a number, not {_shown(value)}')
    return value


def _text(path: Path, values: dict[str, object], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise InputError(f'{path}: "{key}" must be a text, not {_shown(value)}')
    return value


def _object(path: Path, values: dict[str, object], key: str) -> dict[str, object]:
    value = values.get(key, {})
    if not isinstance(value, dict):
        raise InputError(f'{path}: "{key}" must be an object, not {_shown(value)}')
    return value


def _shown(value: object) -> str:
    return json.dumps(value)[:40]
