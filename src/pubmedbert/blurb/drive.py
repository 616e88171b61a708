"""From a data set's name to a finished fine-tuning run, and from all of BLURB to its report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pubmedbert.blurb import datasets, registry
from pubmedbert.blurb.report import write_report
from pubmedbert.blurb.results import check_model
from pubmedbert.cores import cores
from pubmedbert.errors import InputError
from pubmedbert.finetune.own_data import open_own
from pubmedbert.finetune.recipe import chosen, load_recipe, size_of
from pubmedbert.finetune.run import KEEP, finetune, weights
from pubmedbert.finetune.seeds import Job, Opener
from pubmedbert.model.checkpoint import read_config
from pubmedbert.model.config import ModelError, config_from_hf
from pubmedbert.model.locate import locate
from pubmedbert.progress import say
from pubmedbert.settings import read_toml


def opener(dataset: str, folder: Path | None, style: str = "dummies") -> Opener:
    """What opens a BLURB data set of a folder, or a user's own.

    Raises:
        InputError: there is no such data set, or its folder is not given.
    """
    if dataset not in registry.NAMES:
        path = Path(dataset)
        if path.suffix != ".toml" or not path.is_file():
            known = ", ".join(registry.NAMES)
            raise InputError(f"no data set {dataset!r}: it is no TOML file, and none of {known}")
        return partial(open_own, path.resolve())
    if folder is None:
        raise InputError(f"--data must name the folder that holds {registry.entry(dataset).folder}/")
    return partial(datasets.open_dataset, dataset, folder.resolve(), style)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to fine-tune, as the command line asks."""

    seeds: int | None = None
    """Runs; None for the paper's number."""
    recipe: str = "auto"
    given: Sequence[str] = ()
    """Settings that differ from the recipe, `key=value`."""
    keep: str = "all"
    """Model folders that stay."""
    workers: int | None = None
    """Seeds side by side; None for one a core."""
    search: int = 0
    """Settings of the papers' grid to try on dev first."""

    def __post_init__(self) -> None:
        if self.keep not in KEEP:
            raise InputError(f"keep must be one of {', '.join(KEEP)}, not {self.keep!r}")
        for name in ("seeds", "workers"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise InputError(f"{name} must be a whole number from 1, not {number}")


def finetune_one(
    model: str,
    dataset: str,
    folder: Path | None,
    out: Path,
    options: Options,
    *,
    test: bool = True,
) -> dict[str, Any]:
    """Fine-tune a model on one data set.

    Args:
        model: "bundled", a folder or a hub id.
        dataset: a BLURB data set, or the TOML file of one's own.
        folder: holds the BLURB data sets.
        out: of the run.
        options: how.
        test: whether the test split is predicted and scored.

    Returns:
        What `result.json` says.

    Raises:
        InputError: data, recipe or folders are not as they must be.
        ModelError: the model can't be loaded.
    """
    seeds = options.seeds or (registry.entry(dataset).seeds if dataset in registry.NAMES else 5)
    found = locate(model)
    values = read_config(found)
    config = config_from_hf(values)
    task = opener(dataset, folder)().task
    settings = load_recipe(options.recipe, task, size_of(config.layers, model, values.get("model_type")), options.given)
    fixed = chosen(options.recipe, options.given)
    if "max_length" not in fixed:
        settings = replace(settings, max_length=min(settings.max_length, config.max_positions))
    side_by_side = min(options.workers or cores(), seeds)
    if settings.style != "dummies" and dataset not in registry.WITH_OFFSETS:
        raise InputError(
            f"style = {settings.style} goes with {' and '.join(registry.WITH_OFFSETS)} only: {dataset} comes without "
            "the places of what is related, and is shown as it is"
        )
    job = Job(
        open=opener(dataset, folder, settings.style),
        model=found,
        model_name=model,
        recipe=settings,
        seeds=seeds,
        keep=options.keep,
        workers=side_by_side,
        threads=max(cores() // side_by_side, 1),
        test=test and has_test(dataset),
        search=options.search,
        fixed=fixed,
    )
    return finetune(job, out)


def has_test(dataset: str) -> bool:
    """Whether a data set has a test split: BLURB's all do, one's own may."""
    return dataset in registry.NAMES or "test" in read_toml(Path(dataset))


def run_blurb(
    model: str, folder: Path, out: Path, options: Options, *, names: Iterable[str] = (), team: str = ""
) -> dict[str, str]:
    """Fine-tune on every data set whose files are there, and write the report after each.

    Args:
        model: "bundled", a folder or a hub id.
        folder: holds the data sets.
        out: of the report; each data set has its run in it.
        options: how.
        names: the only data sets to run; all where there are none.
        team: who submits.

    Returns:
        The data sets whose files are there and which failed all the same, and why; the report says so, too.

    Raises:
        InputError: a name is unknown, none of the data sets can be read, or `out` has results of another model.
    """
    chosen = list(names) or list(registry.NAMES)
    if unknown := [name for name in chosen if name not in registry.NAMES]:
        raise InputError(f"no BLURB data set {unknown[0]!r}; there are {', '.join(registry.NAMES)}")
    if not folder.is_dir():
        raise InputError(f"--data names {folder}, which is no folder: it must hold the data sets' own")
    missing = {name: why for name in registry.NAMES if (why := datasets.available(name, folder))}
    missing |= {name: "left out by --datasets" for name in registry.NAMES if name not in chosen and name not in missing}
    if not any(name not in missing for name in chosen):
        none = f"none of {len(chosen)} data sets is in {folder}; the first: " if len(chosen) > 1 else ""
        raise InputError(f"{none}{missing[chosen[0]]}")
    check_model(out, weights(locate(model)))
    failed: dict[str, str] = {}
    waiting = [name for name in registry.NAMES if name not in missing]
    count = len(waiting)
    while waiting:
        name = waiting.pop(0)
        try:
            say(summary(finetune_one(model, name, folder, out / name, _suited(options, name))))
        except (InputError, ModelError) as error:  # the others may do well
            say(f"{name}: {error}")
            failed[name] = str(error)
            if len(failed) == count:
                raise InputError(f"no data set could be run; the first: {next(iter(failed.values()))}") from error
            if waiting:
                continue
        told = missing | dict.fromkeys(waiting, "not run yet")
        write_report(out, told, failed, team=team or "TEAM", model=model)
    return failed


def _suited(options: Options, dataset: str) -> Options:
    """The options with the only style that a data set has, where it comes without the places of what is related."""
    if dataset in registry.WITH_OFFSETS:
        return options
    return replace(options, given=[*options.given, "style=dummies"])


def summary(result: dict[str, Any]) -> str:
    """A run's scores in one line."""
    scores = [f"{split} {_mean(result[split])}" for split in ("dev", "test") if split in result]
    collapsed, restarts = (sum(entry[key] for entry in result["seeds"]) for key in ("collapsed", "restarts"))
    fallen = f", {collapsed} collapsed, {restarts} restarts" if collapsed or restarts else ""
    count = len(result["seeds"])
    return f"{result['dataset']}: {result['title']} {', '.join(scores)} ({count} seed{'s' * (count > 1)}{fallen})"


def _mean(values: dict[str, float | None]) -> str:
    spread = f" ± {100 * values['sd']:.2f}" if values["sd"] is not None else ""
    return f"{100 * (values['mean'] or 0.0):.2f}{spread}"
