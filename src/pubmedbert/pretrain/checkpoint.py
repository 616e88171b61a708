"""Checkpoints: a model folder, the optimizer's state and a note of where the run was, checked when read back."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from pubmedbert import runs
from pubmedbert.errors import InputError
from pubmedbert.files import atomic_folder, sha256, write_json
from pubmedbert.model import hf
from pubmedbert.model.heads import Bert


@dataclass(frozen=True)
class Progress:
    """Where a run is."""

    step: int = 0
    """Optimizer updates done."""
    tokens: int = 0
    """Word pieces read, [CLS] and [SEP] included."""
    seconds: float = 0.0
    """Time spent training, evaluations and checkpoints left out."""


def save(run: Path, model: Bert, optimizer: torch.optim.Optimizer, progress: Progress, keep: int) -> None:
    """Write `checkpoints/step-N` in one step, then delete all but the newest `keep`.

    Checkpoints of later steps are damaged ones that were passed over on the way here; they go too.

    Raises:
        InputError: the disk is full; the checkpoints before stay as they were.
    """
    with atomic_folder(run / "checkpoints" / f"step-{progress.step}") as folder:
        hf.save(model, folder)
        hf.write_tensors(_optimizer_tensors(model, optimizer), folder / "optimizer.safetensors")
        files = {path.name: sha256(path) for path in sorted(folder.iterdir())}
        write_json(folder / runs.STATE, asdict(progress) | {"files": files})
    for step, path in runs.checkpoints(run)[::-1]:
        if step > progress.step:
            shutil.rmtree(path)
    for _, path in runs.checkpoints(run)[:-keep]:
        shutil.rmtree(path)


def load(run: Path, model: Bert, optimizer: torch.optim.Optimizer) -> Progress:
    """Fill model and optimizer from the newest intact checkpoint.

    A damaged checkpoint is named and passed over for the one before it.

    Returns:
        Where the run was; step 0 where there is no checkpoint, model and optimizer untouched.

    Raises:
        InputError: there are checkpoints, but none is intact.
    """
    for folder, state in runs.intact(run):
        step, tokens, seconds = (state.get(key) for key in ("step", "tokens", "seconds"))
        if not (isinstance(step, int) and isinstance(tokens, int) and isinstance(seconds, float)):
            raise InputError(f"{folder / runs.STATE} lacks step, tokens or seconds")
        moments = load_file(folder / "optimizer.safetensors")
        model.load_state_dict(hf.load(folder, need_vocabulary=True).state_dict())
        _restore_optimizer(model, optimizer, moments, step)
        return Progress(step, tokens, seconds)
    if found := runs.checkpoints(run):
        raise InputError(f"none of the {len(found)} checkpoints in {run / 'checkpoints'} is intact")
    return Progress()


def _optimizer_tensors(model: Bert, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's two moments under the parameters' names."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for key in ("exp_avg", "exp_avg_sq"):
            tensors[f"{name}.{key}"] = optimizer.state[parameter][key].detach().cpu().contiguous()
    return tensors


def _restore_optimizer(model: Bert, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], step: int) -> None:
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step), device=parameter.device),
            "exp_avg": tensors[f"{name}.exp_avg"].to(parameter.device),
            "exp_avg_sq": tensors[f"{name}.exp_avg_sq"].to(parameter.device),
        }
