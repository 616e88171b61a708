"""Which parameter is updated how, and by which rank: AdamW, LAMB or Muon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pubmedbert.errors import InputError
from pubmedbert.model.attention import SelfAttention
from pubmedbert.pretrain.distributed import Ranks
from pubmedbert.pretrain.lamb import Lamb
from pubmedbert.pretrain.muon import Muon
from pubmedbert.pretrain.recipe import Recipe

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Piece:
    """A parameter as its optimizer sees it: the whole, or one matrix of several that are stacked."""

    name: str
    """The model's name for it; a stacked matrix has its number behind."""
    whole: nn.Parameter
    """The parameter of the model."""
    part: int
    """Which of the stacked matrices."""
    parts: int
    """How many there are."""
    parameter: nn.Parameter
    """A view of the model's numbers, or the parameter itself."""
    owner: int
    """The rank that updates it."""
    muon: bool
    """Whether Muon updates it."""

    @property
    def moments(self) -> tuple[str, ...]:
        """What its optimizer remembers, each of the parameter's shape."""
        return ("momentum_buffer",) if self.muon else _MOMENTS


class Optimizer:
    """The optimizers of a run as one.

    Matrices decay, biases and norms do not (Loshchilov & Hutter 2019).

    Args:
        model: whose parameters are updated.
        recipe: the settings.
        ranks: of the run. With `shard` each parameter is updated by one of them, which alone keeps its state
            (Rajbhandari et al. 2020, stage 1), and the others are sent the result.
        bf16: whether Muon's products are in bfloat16.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, ranks: Ranks, *, bf16: bool = False) -> None:
        self._ranks = ranks
        self._sharded = recipe.shard and ranks.count > 1
        owners = owners_of(model, ranks.count) if self._sharded else {}
        self.pieces = list(_pieces(model, recipe, owners, default=ranks.rank))
        mine = [piece for piece in self.pieces if piece.owner == ranks.rank]
        self.parts = list(_optimizers(mine, recipe, bf16=bf16))
        updates = {id(p): part for part in self.parts for group in part.param_groups for p in group["params"]}
        self._part = {piece.name: updates[id(piece.parameter)] for piece in mine}

    def forget(self) -> None:
        """Remember nothing, as before the first step."""
        for part in self.parts:
            part.state.clear()

    def step(self, lr: float) -> None:
        """Update the model by its gradients."""
        for piece in self.pieces:
            if piece.parts > 1 and piece.whole.grad is not None:
                piece.parameter.grad = piece.whole.grad.chunk(piece.parts)[piece.part]
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()
        for piece in self.pieces:
            if piece.parts > 1:
                piece.parameter.grad = None  # which the model does not know of, and would not clear
        if self._sharded:
            for piece in self.pieces:
                self._ranks.share(piece.parameter.data, piece.owner)

    def tensors(self) -> dict[str, Tensor]:
        """What the optimizers remember, by piece and moment; whole on the main rank, and all ranks must ask for it."""
        found = {}
        for piece in self.pieces:
            state = self._part[piece.name].state[piece.parameter] if piece.name in self._part else {}
            for moment in piece.moments:
                value = state.get(moment, torch.zeros_like(piece.parameter.data))
                if self._sharded:
                    self._ranks.share(value, piece.owner)
                if self._ranks.main:
                    found[f"{piece.name}.{moment}"] = value.detach().cpu().contiguous()
        return found

    def restore(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        """Fill the optimizers from what `tensors` gave.

        Args:
            tensors: by piece and moment.
            updates: made so far.

        Raises:
            InputError: the tensors are of another optimizer or model.
        """
        self.forget()
        for piece in self.pieces:
            if piece.name not in self._part:
                continue
            names = [f"{piece.name}.{moment}" for moment in piece.moments]
            if any(name not in tensors or tensors[name].shape != piece.parameter.shape for name in names):
                raise InputError(f"the optimizer's state does not fit {piece.name}")
            # A copy in torch's own memory: what a file is mapped to may be aligned otherwise.
            state = {
                moment: torch.empty_like(piece.parameter.data).copy_(tensors[name])
                for moment, name in zip(piece.moments, names, strict=True)
            }
            if not piece.muon:
                state["step"] = torch.tensor(float(updates), device=piece.parameter.device)
            self._part[piece.name].state[piece.parameter] = state


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon is meant for a parameter: the matrices of the layers, no embedding, head, bias or norm."""
    return ".layers." in f".{name}" and parameter.ndim == 2


def _pieces(model: nn.Module, recipe: Recipe, owners: Mapping[str, int], default: int) -> Iterator[Piece]:
    """The model's parameters; queries, keys and values apart where an optimizer looks at whole matrices."""
    stacked = {f"{name}.qkv.weight" for name, module in model.named_modules() if isinstance(module, SelfAttention)}
    for name, parameter in model.named_parameters():
        muon = recipe.optimizer == "muon" and is_hidden_matrix(name, parameter)
        owner = owners.get(name, default)
        if name not in stacked or recipe.optimizer == "adamw":
            yield Piece(name, parameter, 0, 1, parameter, owner, muon)
            continue
        for part, view in enumerate(parameter.data.chunk(3)):
            yield Piece(f"{name}.{part}", parameter, part, 3, nn.Parameter(view), owner, muon)


def _optimizers(pieces: list[Piece], recipe: Recipe, *, bf16: bool) -> Iterator[torch.optim.Optimizer]:
    """An optimizer for each kind of update.

    AdamW's fused kernel is asked for by name: on a CPU torch's default, `foreach`, is many times slower.
    """
    matrices = [piece.parameter for piece in pieces if piece.parameter.ndim >= 2 and not piece.muon]
    vectors = [piece.parameter for piece in pieces if piece.parameter.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    betas = (recipe.beta1, recipe.beta2)
    if recipe.optimizer == "lamb":
        for group in groups:
            group["adapt"] = group["params"] is matrices
        yield from [Lamb(groups, lr=recipe.lr, betas=betas, eps=recipe.eps)] if groups else []
        return
    if groups:
        yield torch.optim.AdamW(groups, lr=recipe.lr, betas=betas, eps=recipe.eps, fused=True)
    if hidden := [piece.parameter for piece in pieces if piece.muon]:
        yield Muon(hidden, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, bf16=bf16)


def owners_of(model: nn.Module, ranks: int) -> dict[str, int]:
    """Which rank keeps the state of a parameter: the largest first, each to the one with the fewest numbers so far."""
    loads = [0] * ranks
    owners = {}
    for name, parameter in sorted(model.named_parameters(), key=lambda pair: -pair[1].numel()):
        owners[name] = loads.index(min(loads))
        loads[owners[name]] += parameter.numel()
    return owners
