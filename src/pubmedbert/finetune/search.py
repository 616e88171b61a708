"""Settings chosen on dev from the papers' grid (Gu et al. 2020, section 2.5) with Optuna; a killed search goes on."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pubmedbert.errors import InputError
from pubmedbert.finetune import loop
from pubmedbert.finetune.seeds import Job
from pubmedbert.progress import progress, say

GRID: dict[str, list[float | int]] = {"lr": [1e-5, 3e-5, 5e-5], "batch": [16, 32], "epochs": [2, 5, 10, 20, 40, 60]}
"""The paper's learning rates and batches, and epochs from its range of 2 to 60."""
LOG = ".search.log"
"""The study, in the folder of its run."""
_FALLEN = 3.0
"""What a setting that collapsed loses: it comes after all others, whose scores are between -1 and 1."""


def search(job: Job, folder: Path, settings: Mapping[str, Any]) -> Job:
    """Try settings with seed 0 and score them on dev; the test split is not read.

    The grid's points are tried in a fixed random order; what the user has set is left as it is.

    Args:
        job: what is to be fine-tuned; `job.search` says how many points are tried.
        folder: of the run, held by the caller; the study is `.search.log` in it, and grows by what is missing.
        settings: what decides the outcome (but for the model's name, and how many are tried); the study of others is
            none of this one.

    Returns:
        The job with the best settings.

    Raises:
        InputError: there are fewer points than are to be tried, or the study is damaged.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    grid = {name: values for name, values in GRID.items() if name not in job.fixed}
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if not 1 <= job.search <= len(points):
        raise InputError(f"--search takes 1 to {len(points)} settings, the size of the grid, not {job.search}")
    log = folder / LOG
    ready = None if log.exists() else _ready(job)
    decisive = {name: value for name, value in settings.items() if name not in ("model", "search")}
    key = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _mend(log)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            storage = JournalStorage(JournalFileBackend(str(log)))
        except ValueError as error:
            raise InputError(f"{log} is damaged: delete it to search anew") from error
    study = optuna.create_study(storage=storage, study_name=key, direction="maximize", load_if_exists=True)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):  # of a process that was killed
        study.tell(trial.number, state=TrialState.FAIL)
    tried = [trial.params for trial in study.get_trials(states=(TrialState.COMPLETE,))]
    order = [points[place] for place in np.random.default_rng(0).permutation(len(points))]
    fresh = [point for point in order if point not in tried][: max(job.search - len(tried), 0)]
    if fresh:
        _try(ready or _ready(job), study, fresh, len(tried), folder / f".search-{key}")
    scores = {order.index(trial.params): trial.value for trial in study.get_trials(states=(TrialState.COMPLETE,))}
    place = max(sorted(scores), key=scores.__getitem__)  # of equal ones the first in the order
    best, value = order[place], scores[place]
    score = f"{value:.2%}" if value >= -1 else "which collapsed, as they all did"
    say(f"best of {len(scores)} settings on dev: {best}, {score}")
    return replace(job, recipe=replace(job.recipe, **best))


def _ready(job: Job) -> loop.Setup:
    """What settings are tried on; those that the model can't have are told here, before there is a study."""
    torch.set_num_threads(job.threads * job.workers)
    ready = loop.setup(job.open(), job.recipe, job.model)
    loop.new_model(ready.base, ready.head, ready.recipe, 0)
    return ready


def _mend(log: Path) -> None:
    """Take away what a search that was killed while it wrote has left: its lock, and an unfinished last line."""
    Path(f"{log}.lock").unlink(missing_ok=True)  # nobody else is in the folder, which the caller holds
    if log.exists():
        written = log.read_bytes()
        with log.open("r+b") as stream:
            stream.truncate(written.rfind(b"\n") + 1)


def _try(ready: loop.Setup, study: Any, fresh: Sequence[dict[str, float | int]], done: int, work: Path) -> None:
    """Train and score points, with checkpoints in `work` that a search which was killed goes on from."""
    from optuna.trial import TrialState

    for other in work.parent.glob(".search-*"):  # of other settings
        if other != work:
            shutil.rmtree(other, ignore_errors=True)
    with progress("searching", done + len(fresh), "settings", done=done) as advance:

        def objective(trial: Any) -> float:
            chosen = {name: trial.suggest_categorical(name, GRID[name]) for name in fresh[0]}
            place = work / "-".join(f"{name}={value}" for name, value in chosen.items())

            def report(news: loop.News) -> None:
                if news.event:
                    say(f"{chosen}: {news.text}")
                advance(0, f"{chosen}: {news.text}")

            fitted = loop.fit(replace(ready, recipe=replace(ready.recipe, **chosen)), 0, report, place)
            shutil.rmtree(place, ignore_errors=True)
            fallen = ", collapsed" if fitted.collapsed else ""
            advance(1, f"{chosen}: dev {fitted.dev:.2%}{fallen}")
            return fitted.dev - _FALLEN * fitted.collapsed

        for point in fresh:
            if not study.get_trials(states=(TrialState.WAITING,)):  # one waits where the process was killed just then
                study.enqueue_trial(point)
            study.optimize(objective, n_trials=1)
    shutil.rmtree(work, ignore_errors=True)
