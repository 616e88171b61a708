"""An attempt on disk: weights, the best weights, the optimizer's moments and a note of where it was."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pubmedbert.errors import InputError
from pubmedbert.files import atomic_folder, read_json, sha256, write_json
from pubmedbert.finetune.stability import Answer
from pubmedbert.model.hf import write_tensors
from pubmedbert.model.tuned import Tuned
from pubmedbert.progress import say

NAME = "checkpoint"


@dataclass(frozen=True)
class Progress:
    """Where an attempt is."""

    epoch: int = 0
    """Epochs done."""
    update: int = 0
    """Updates done of the epoch at hand."""
    loss: float = 0.0
    """Sum of their losses."""
    seconds: float = 0.0
    """Time spent training."""
    best_epoch: int = 0
    """The epoch whose weights are kept so far."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Loss and dev score of each epoch, and whether it answers the same to everything."""
    answers: list[Answer] = field(default_factory=list)
    """On dev, of the best epoch."""
    best: dict[str, Tensor] | None = None
    """Weights of the best epoch."""

    def updated(self, loss: float, seconds: float) -> Progress:
        """An update later."""
        return replace(self, update=self.update + 1, loss=self.loss + loss, seconds=self.seconds + seconds)

    def after(self, score: float, updates: int, *, collapsed: bool) -> Progress:
        """When an epoch of so many updates is over and dev was scored."""
        history = [*self.history, {"loss": self.loss / updates, "dev": score, "collapsed": collapsed}]
        return replace(self, epoch=self.epoch + 1, update=0, loss=0.0, history=history)


_NOTED = ("epoch", "update", "loss", "seconds", "best_epoch", "history", "answers")


def save(folder: Path, model: Tuned, adam: torch.optim.Optimizer, at: Progress) -> None:
    """Write the checkpoint in one step; the one before is replaced.

    Raises:
        InputError: the disk is full; the checkpoint before stays as it was.
    """
    with atomic_folder(folder / NAME) as new:
        write_tensors(dict(model.state_dict()), new / "model.safetensors")
        write_tensors(at.best or {}, new / "best.safetensors")
        write_tensors(_moments(model, adam), new / "optimizer.safetensors")
        files = {path.name: sha256(path) for path in sorted(new.iterdir())}
        note: dict[str, Any] = {key: getattr(at, key) for key in _NOTED}
        write_json(new / "state.json", note | {"files": files})


def load(folder: Path, model: Tuned, adam: torch.optim.Optimizer) -> Progress | None:
    """Fill model and optimizer from the checkpoint; None where there is none, or a damaged one: it begins anew."""
    found = folder / NAME
    if not found.is_dir():
        return None
    try:
        note: dict[str, Any] = read_json(found / "state.json")
        for name, expected in note["files"].items():
            if sha256(found / name) != expected:
                raise InputError(f"{name} does not have its checksum")
        at = {key: note[key] for key in _NOTED}
        weights, best, moments = (load_file(found / f"{name}.safetensors") for name in ("model", "best", "optimizer"))
    except (InputError, SafetensorError, OSError, KeyError) as error:
        say(f"{found} is damaged ({error}); the attempt begins anew")
        return None
    model.load_state_dict(weights)
    for name, parameter in model.named_parameters():
        if f"{name}.exp_avg" in moments:
            keys = ("step", "exp_avg", "exp_avg_sq")
            adam.state[parameter] = {key: moments[f"{name}.{key}"] for key in keys}
    answers = [tuple(answer) if isinstance(answer, list) else answer for answer in note["answers"]]
    return Progress(**at | {"answers": answers, "best": best})


def _moments(model: Tuned, adam: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's state under the parameters' names."""
    return {
        f"{name}.{key}": value.detach().clone()
        for name, parameter in model.named_parameters()
        for key, value in adam.state.get(parameter, {}).items()
    }
