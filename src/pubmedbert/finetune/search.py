"""Settings chosen on dev from the papers' grid (Gu et al. 2020, section 2.5), by Optuna; a killed search goes on."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pubmedbert.errors import InputError
from pubmedbert.files import locked
from pubmedbert.finetune import loop
from pubmedbert.finetune.run import Job
from pubmedbert.progress import progress, say

GRID: dict[str, list[float | int]] = {"lr": [1e-5, 3e-5, 5e-5], "batch": [16, 32], "epochs": [5, 10, 20, 40, 60]}
"""The paper's learning rates and batches; its epochs go from 2 to 60."""


def search(job: Job, folder: Path, trials: int) -> Job:
    """Try settings with seed 0 and score them on dev; the test split is not read.

    Args:
        job: what is to be fine-tuned; its recipe gives what the grid does not vary.
        folder: of the run; the study is `.search/journal.log` in it, and grows by what is missing.
        trials: settings to try; at most the grid's size.

    Returns:
        The job with the best settings.

    Raises:
        InputError: there are fewer settings than trials, or another process searches.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    size = 1
    for values in GRID.values():
        size *= len(values)
    if not 1 <= trials <= size:
        raise InputError(f"--search takes 1 to {size} settings, the size of the grid, not {trials}")
    place = folder / ".search"
    with locked(place, busy=f"another process searches in {place}; wait for it or choose another --out"):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = JournalStorage(JournalFileBackend(str(place / "journal.log")))
            sampler = optuna.samplers.GridSampler(GRID, seed=0)
            study = optuna.create_study(
                storage=storage, sampler=sampler, study_name=job.model_name, direction="maximize", load_if_exists=True
            )
        for trial in study.get_trials(states=(TrialState.RUNNING,)):  # of a process that was killed
            study.tell(trial.number, state=TrialState.FAIL)
        done = len(study.get_trials(states=(TrialState.COMPLETE,)))
        if done < trials:
            _try(job, study, done, trials)
    best: dict[str, Any] = study.best_params
    say(f"best of {trials} settings on dev: {best}, {study.best_value:.2%}")
    return replace(job, recipe=replace(job.recipe, **best))


def _try(job: Job, study: Any, done: int, trials: int) -> None:
    """Train and score until `trials` settings are known."""
    torch.set_num_threads(job.threads * job.workers)
    ready = loop.setup(job.open(), job.recipe, job.model)
    with progress("searching", trials, "settings", done=done) as advance:

        def objective(trial: Any) -> float:
            chosen = {name: trial.suggest_categorical(name, values) for name, values in GRID.items()}
            trying = replace(ready, recipe=replace(ready.recipe, **chosen))
            fitted = loop.fit(trying, 0, lambda *_: None)
            advance(1, f"{chosen}: dev {fitted.dev:.2%}")
            return fitted.dev

        study.optimize(objective, n_trials=trials - done)
