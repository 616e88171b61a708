"""The formulas of memory, held against what torch and the optimizers keep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pubmedbert.pretrain.distributed import Ranks
from pubmedbert.pretrain.objective import MaskedWords, objective
from pubmedbert.pretrain.optimizer import Optimizer
from pubmedbert.pretrain.planning import memory
from pubmedbert.pretrain.planning.plan import _moments, count
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.shards.samples import Pack

VOCABULARY = 2000


def rows(number: int, length: int, masks: int) -> Pack:
    """A pack of full rows with so many masks each."""
    places = np.concatenate(
        [row * length + np.linspace(1, length - 2, masks).astype(np.int64) for row in range(number)]
    )
    rng = np.random.default_rng(0)
    tokens = rng.integers(5, VOCABULARY, number * length)
    return Pack(
        tokens=tokens,
        positions=np.tile(np.arange(length), number),
        lengths=[length] * number,
        where=places,
        labels=tokens[places],
        types=np.zeros_like(tokens),
        samples=np.arange(number),
        random_next=np.full(number, -1),
    )


def kept_bytes(model: nn.Module, pack: Pack) -> int:
    """Bytes of the storages that a forward pass saves for the backward pass, parameters left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}

    def save(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        loss = MaskedWords().terms(model, pack, 0)["mlm"].total
    assert loss.requires_grad
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(("size", "number", "length"), [("tiny", 8, 128), ("mini", 4, 128), ("mini", 2, 256)])
def test_activations_are_what_torch_keeps(size: str, number: int, length: int, dropout: float) -> None:
    recipe = Recipe(size=size, dropout=dropout, attention_dropout=dropout)
    config = recipe.model(VOCABULARY, 0)
    model = MaskedWords().build(config).train()
    masks = round(0.15 * length)
    measured = kept_bytes(model, rows(number, length, masks)) / number
    assert memory.row_bytes(config, length, masks, half=False) == pytest.approx(measured, rel=0.01)


@pytest.mark.parametrize("optimizer", ["adamw", "lamb", "muon"])
def test_state_is_what_the_optimizer_keeps(optimizer: str) -> None:
    recipe = Recipe(size="tiny", optimizer=optimizer)
    task = objective(recipe)
    model = task.build(recipe.model(VOCABULARY, 0))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    steps = Optimizer(model, recipe, Ranks())
    steps.step(1e-3)
    found = sum(tensor.nbytes for tensor in steps.tensors().values())
    state = memory.state(count(model), _moments(recipe, model), 1, half=False)
    assert state.optimizer == found
    assert state.weights == state.gradients == sum(p.nbytes for p in model.parameters())


def test_averages_count() -> None:
    plain = memory.state(1000, 2000, 4, half=True)
    assert memory.state(1000, 2000, 4, half=True, average=True).total == plain.total + 4000


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_fullest_rank_keeps_what_plan_counts(optimizer: str) -> None:
    recipe = Recipe(size="tiny", shard=True, optimizer=optimizer)
    model = MaskedWords().build(recipe.model(VOCABULARY, 0))
    held = [0] * 4
    for rank in range(4):
        for piece in Optimizer(model, recipe, Ranks(rank, 4)).pieces:
            held[rank] += piece.parameter.numel() * len(piece.moments) * (piece.owner == rank)
    assert sum(held) == _moments(recipe, model)
    assert max(held) == _moments(recipe, model, 4) > sum(held) / 4, "the word embeddings are not split"


def test_recomputing_keeps_the_inputs_of_layers_and_one_layer() -> None:
    config = Recipe(size="large").model(30522, 0)
    plain = memory.row_bytes(config, 512, 77, half=True)
    again = memory.row_bytes(config, 512, 77, half=True, checkpointed=True)
    assert again < plain / 4
    one = replace(config, layers=1)
    assert memory.row_bytes(one, 512, 77, half=True, checkpointed=True) > memory.row_bytes(one, 512, 77, half=True)
