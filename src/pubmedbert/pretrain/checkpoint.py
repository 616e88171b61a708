"""Checkpoints: a model folder, the optimizer's state and a note of where the run was, checked when read back."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pubmedbert.errors import InputError
from pubmedbert.files import atomic_folder, read_json, sha256, write_json
from pubmedbert.model import hf
from pubmedbert.model.config import ModelError
from pubmedbert.model.heads import Bert
from pubmedbert.progress import say

_STEP = re.compile(r"step-(\d+)")
_STATE = "state.json"


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

    Raises:
        InputError: the disk is full; the checkpoints before stay as they were.
    """
    with atomic_folder(run / "checkpoints" / f"step-{progress.step}") as folder:
        hf.save(model, folder)
        hf.write_tensors(_optimizer_tensors(model, optimizer), folder / "optimizer.safetensors")
        files = {path.name: sha256(path) for path in sorted(folder.iterdir())}
        write_json(folder / _STATE, asdict(progress) | {"files": files})
    for _, path in _steps(run)[:-keep]:
        shutil.rmtree(path)


def load(run: Path, model: Bert, optimizer: torch.optim.Optimizer) -> Progress:
    """Fill model and optimizer from the newest intact checkpoint.

    A damaged checkpoint is named and passed over for the one before it.

    Returns:
        Where the run was; step 0 where there is no checkpoint, model and optimizer untouched.

    Raises:
        InputError: there are checkpoints, but none is intact.
    """
    steps = _steps(run)
    for _, folder in reversed(steps):
        try:
            progress = _verify(folder)
            state = hf.load(folder, need_vocabulary=True).state_dict()
            moments = load_file(folder / "optimizer.safetensors")
        except (InputError, ModelError, SafetensorError, OSError) as error:
            say(f"{folder} is damaged ({error}); trying the checkpoint before it")
            continue
        model.load_state_dict(state)
        _restore_optimizer(model, optimizer, moments, progress.step)
        return progress
    if steps:
        raise InputError(f"none of the {len(steps)} checkpoints in {run / 'checkpoints'} is intact")
    return Progress()


def newest(run: Path) -> Path | None:
    """The newest checkpoint of a run, if there is one."""
    steps = _steps(run)
    return steps[-1][1] if steps else None


def _steps(run: Path) -> list[tuple[int, Path]]:
    """The run's checkpoints by step, ascending; temporary folders are no checkpoints."""
    folder = run / "checkpoints"
    matches = ((_STEP.fullmatch(path.name), path) for path in (folder.iterdir() if folder.is_dir() else ()))
    return sorted((int(match[1]), path) for match, path in matches if match)


def _verify(folder: Path) -> Progress:
    """Read the note of a checkpoint and compare every file with its checksum."""
    state = read_json(folder / _STATE)
    files, step, tokens, seconds = (state.get(key) for key in ("files", "step", "tokens", "seconds"))
    if not (
        isinstance(files, dict) and isinstance(step, int) and isinstance(tokens, int) and isinstance(seconds, float)
    ):
        raise InputError(f"{folder / _STATE} is incomplete")
    for name in ("config.json", "model.safetensors", "optimizer.safetensors"):
        if files.get(name) != sha256(folder / name):
            raise InputError(f"{name} does not have its checksum")
    return Progress(step, tokens, seconds)


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
