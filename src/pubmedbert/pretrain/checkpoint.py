"""Checkpoints: a model folder, the optimizer's state and a note of where the run was, checked when read back."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from pubmedbert import runs
from pubmedbert.errors import InputError
from pubmedbert.files import atomic_folder, read_json, sha256, sweep, write_json
from pubmedbert.model import hf
from pubmedbert.pretrain.average import Average
from pubmedbert.pretrain.distributed import Ranks
from pubmedbert.pretrain.optimizer import Optimizer
from pubmedbert.pretrain.term import Objective

OPTIMIZER = "optimizer.safetensors"
WEIGHTS = "weights.safetensors"
"""The weights in training, where the model folder holds their average."""


@dataclass(frozen=True)
class Progress:
    """Where a run is."""

    step: int = 0
    """Steps done."""
    tokens: int = 0
    """Word pieces read, [CLS] and [SEP]s included."""
    seconds: float = 0.0
    """Time spent training, evaluations and checkpoints left out."""
    rows: int = 0
    """Rows read, with those that a run which went back has left behind."""
    skipped: int = 0
    """Steps without an update."""
    rollbacks: int = 0
    """How often the run went back to a checkpoint."""

    @property
    def updates(self) -> int:
        """Optimizer updates done."""
        return self.step - self.skipped


@dataclass(frozen=True)
class Trainee:
    """What a checkpoint holds: the model and all that training it needs."""

    objective: Objective
    model: nn.Module
    optimizer: Optimizer
    average: Average | None
    """Of the weights, where the recipe asks for one."""
    ranks: Ranks

    def save_model(self, folder: Path) -> None:
        """Write what the run exports: the model, or the average of its weights."""
        with self.average.applied() if self.average else nullcontext():
            self.objective.save(self.model, folder)


def save(run: Path, trainee: Trainee, progress: Progress, keep: int) -> None:
    """Write `checkpoints/step-N` in one step, then delete all but the newest `keep`. All ranks must call it.

    Checkpoints of later steps are damaged ones that were passed over on the way here; they go too.

    Raises:
        InputError: the disk is full; the checkpoints before stay as they were.
    """
    moments = trainee.optimizer.tensors()
    if not trainee.ranks.main:
        return
    sweep(run / "checkpoints")
    with atomic_folder(run / "checkpoints" / f"step-{progress.step}") as folder:
        trainee.save_model(folder)
        hf.write_tensors(moments, folder / OPTIMIZER)
        if trainee.average:
            weights = {name: parameter.detach().cpu() for name, parameter in trainee.model.named_parameters()}
            hf.write_tensors(weights, folder / WEIGHTS)
        written = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): sha256(path) for path in written}
        state = asdict(progress) | {"files": files}
        write_json(folder / runs.STATE, state | {"sha256": runs.digest(state)})
    for step, path in runs.checkpoints(run)[::-1]:
        if step > progress.step:
            shutil.rmtree(path)
    for _, path in runs.checkpoints(run)[:-keep]:
        shutil.rmtree(path)


def load(run: Path, trainee: Trainee) -> Progress:
    """Fill a trainee from the newest intact checkpoint. All ranks must call it, and read the one the main rank found.

    A damaged checkpoint is named and passed over for the one before it.

    Returns:
        Where the run was; step 0 where there is no checkpoint, the trainee untouched.

    Raises:
        InputError: there are checkpoints, but none is intact.
    """
    step = int(trainee.ranks.from_main(_newest(run) if trainee.ranks.main else 0))
    if not step:
        return Progress()
    folder = run / "checkpoints" / f"step-{step}"
    progress = _progress(folder)
    trainee.objective.load(trainee.model, folder)
    if trainee.average:
        trainee.average.restore()
        weights = load_file(folder / WEIGHTS)
        with torch.no_grad():
            for name, parameter in trainee.model.named_parameters():
                parameter.copy_(weights[name])
    trainee.optimizer.restore(load_file(folder / OPTIMIZER), progress.updates)
    return progress


def _newest(run: Path) -> int:
    """The step of the newest intact checkpoint, 0 where there is none."""
    for _, state in runs.intact(run):
        return int(str(state.get("step", 0)))
    if found := runs.checkpoints(run):
        raise InputError(f"none of the {len(found)} checkpoints in {run / 'checkpoints'} is intact")
    return 0


def _progress(folder: Path) -> Progress:
    state = read_json(folder / runs.STATE)
    values = {field.name: state.get(field.name) for field in fields(Progress)}
    wrong = [name for name, value in values.items() if type(value) is not (float if name == "seconds" else int)]
    if wrong:
        raise InputError(f"{folder / runs.STATE} lacks {' and '.join(wrong)}")
    return Progress(**values)  # type: ignore[arg-type]  # checked just above
