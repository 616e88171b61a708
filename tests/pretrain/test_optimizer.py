"""Which parameter is updated how, and that the updates are those of the papers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pubmedbert.errors import InputError
from pubmedbert.model.config import SIZES
from pubmedbert.model.encoder import initialise
from pubmedbert.model.heads import Bert
from pubmedbert.pretrain.average import Average
from pubmedbert.pretrain.distributed import Ranks
from pubmedbert.pretrain.lamb import Lamb
from pubmedbert.pretrain.muon import Muon, orthogonal
from pubmedbert.pretrain.optimizer import Optimizer
from pubmedbert.pretrain.recipe import OPTIMIZERS, Recipe

CONFIG = replace(SIZES["tiny"], vocab_size=50)


def model_with_gradients(seed: int = 0) -> Bert:
    model = Bert(CONFIG, pooler=True, next_sentence=True)
    initialise(model, CONFIG, seed)
    give_gradients(model, seed)
    return model


def give_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) / 100


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_decay_leaves_biases_and_norms_alone() -> None:
    recipe = Recipe()
    (adamw,) = Optimizer(model_with_gradients(), recipe, Ranks()).parts
    decayed, spared = adamw.param_groups
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert all(p.ndim < 2 for p in spared["params"])
    assert (decayed["weight_decay"], spared["weight_decay"]) == (recipe.weight_decay, 0.0)
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model_with_gradients().parameters()))


def test_adamw_is_torchs() -> None:
    recipe, model, reference = Recipe(weight_decay=0.1), model_with_gradients(), model_with_gradients()
    optimizer = Optimizer(model, recipe, Ranks())
    groups = [
        {"params": [p for p in reference.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in reference.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    theirs = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), eps=1e-6, foreach=False)
    for step in range(3):
        give_gradients(model, step)
        give_gradients(reference, step)
        optimizer.step(1e-3)
        theirs.step()
    for name, value in model.state_dict().items():
        assert torch.allclose(value, reference.state_dict()[name], atol=1e-7), name


def test_muon_moves_the_matrices_of_the_layers_and_adamw_the_rest() -> None:
    optimizer = Optimizer(model_with_gradients(), Recipe(optimizer="muon"), Ranks())
    by_muon = {piece.name for piece in optimizer.pieces if piece.muon}
    layer = ("attention.qkv.weight.0", "attention.qkv.weight.1", "attention.qkv.weight.2", "attention.output.weight")
    assert by_muon == {f"encoder.layers.{i}.{name}" for i in (0, 1) for name in (*layer, "up.weight", "down.weight")}
    rest = {piece.name for piece in optimizer.pieces} - by_muon
    assert rest >= {
        "encoder.embeddings.words.weight",
        "encoder.embeddings.positions.weight",
        "encoder.layers.0.attention.qkv.bias",
        "encoder.layers.1.ffn_norm.weight",
        "vocabulary.dense.weight",
        "pooler.dense.weight",
        "next_sentence.weight",
    }
    adamw, muon = optimizer.parts
    assert isinstance(adamw, torch.optim.AdamW)
    assert isinstance(muon, torch.optim.Muon)
    assert sum(len(group["params"]) for group in muon.param_groups) == len(by_muon)


def test_muon_turns_queries_keys_and_values_apart() -> None:
    model = model_with_gradients()
    weight = model.get_parameter("encoder.layers.0.attention.qkv.weight")
    before, gradient = weight.detach().clone(), weight.grad
    assert gradient is not None
    apart = [nn.Parameter(part.clone()) for part in before.chunk(3)]
    for parameter, part in zip(apart, gradient.chunk(3), strict=True):
        parameter.grad = part.clone()
    Optimizer(model, Recipe(optimizer="muon"), Ranks(), bf16=True).step(1e-2)
    torch.optim.Muon(apart, lr=1e-2, weight_decay=0.01, adjust_lr_fn="match_rms_adamw").step()  # type: ignore[no-untyped-call]
    assert torch.equal(weight, torch.cat([p.detach() for p in apart]))
    update = (before - weight.detach()).chunk(3)[0]
    assert update.pow(2).mean().sqrt().item() == pytest.approx(0.2 * 1e-2, rel=0.25), "as large as AdamW's"


@pytest.mark.parametrize("shape", [(24, 24), (40, 24), (96, 24), (24, 96)])
def test_muon_in_fp32_does_what_torch_does_in_bfloat16(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer = Muon([ours], lr=1e-2, momentum=0.9, weight_decay=0.1, bf16=False)
    reference = torch.optim.Muon([theirs], lr=1e-2, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        gradient = torch.randn(shape)
        for parameter in (ours, theirs):
            parameter.grad = gradient.clone()
        optimizer.step()
        reference.step()  # type: ignore[no-untyped-call]
    change = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * change
    momentum, expected = (x.state[p]["momentum_buffer"] for x, p in ((optimizer, ours), (reference, theirs)))
    assert torch.allclose(momentum, expected, atol=1e-6)


@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 60)),
    rank=st.integers(0, 20),
    decay=st.floats(0.0, 12.0),
    scale=st.sampled_from([1e-12, 1e-3, 1.0, 1e6]),
    turned=st.booleans(),
)
def test_polynomials_multiplied_first_are_the_iterations(
    shape: tuple[int, int], rank: int, decay: float, scale: float, turned: bool
) -> None:
    """For gradients of any rank and spread of singular values, against the plain iterations in double precision."""
    generator = torch.Generator().manual_seed(1)
    left = torch.randn(shape[0], rank, generator=generator, dtype=torch.float64)
    right = torch.randn(rank, shape[1], generator=generator, dtype=torch.float64)
    matrix = left * torch.logspace(0, -decay, rank, dtype=torch.float64) @ right * scale
    matrix = (matrix.T if turned else matrix).float()
    coefficients = (3.4445, -4.775, 2.0315)
    expected = matrix.double()
    expected = expected / expected.norm().clamp(min=1e-7)
    for _ in range(5):
        square = expected @ expected.T
        a, b, c = coefficients
        expected = a * expected + (b * square + c * square @ square) @ expected
    found = orthogonal(matrix, coefficients, 5)
    assert found.shape == matrix.shape
    assert (found - expected).abs().max() < 5e-3  # bfloat16 is off by 2e-2


def lamb_by_hand(w: np.ndarray, gradients: list[np.ndarray], lr: float, decay: float, *, adapt: bool) -> np.ndarray:
    """You et al. 2020, algorithm 2, in double precision."""
    m = v = np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g**2
        u = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.98**t)) + 1e-6) + decay * w
        trust = np.linalg.norm(w) / np.linalg.norm(u) if adapt and np.linalg.norm(w) > 0 else 1.0
        w = w - lr * trust * u
    return w


@pytest.mark.parametrize("adapt", [True, False])
@pytest.mark.parametrize("zero", [True, False])
def test_lamb_is_the_papers_formula(adapt: bool, zero: bool) -> None:
    rng = np.random.default_rng(0)
    start = np.zeros((7, 5)) if zero else rng.standard_normal((7, 5))
    gradients = [rng.standard_normal((7, 5)) * 10.0**-k for k in range(4)]
    parameter = nn.Parameter(torch.from_numpy(start.copy()))
    group = {"params": [parameter], "weight_decay": 0.1, "adapt": adapt}
    lamb = Lamb([group], lr=0.01, betas=(0.9, 0.98), eps=1e-6)
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient)
        lamb.step()
    expected = lamb_by_hand(start, gradients, 0.01, 0.1, adapt=adapt)
    assert parameter.detach().numpy() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_survives_the_round_trip(name: str) -> None:
    recipe, models = Recipe(optimizer=name), [model_with_gradients(), model_with_gradients()]
    optimizers = [Optimizer(model, recipe, Ranks()) for model in models]
    for step in range(2):
        give_gradients(models[0], step)
        optimizers[0].step(1e-3)
    models[1].load_state_dict(models[0].state_dict())
    optimizers[1].restore(optimizers[0].tensors(), updates=2)
    for model, optimizer in zip(models, optimizers, strict=True):
        give_gradients(model, 7)
        optimizer.step(1e-3)
    assert all(torch.equal(value, state(models[1])[key]) for key, value in state(models[0]).items())
    with pytest.raises(InputError, match="state does not fit"):
        optimizers[1].restore({}, updates=2)
    optimizers[1].forget()
    assert not any(part.state for part in optimizers[1].parts)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_is_used_once_and_let_go(name: str) -> None:
    model = model_with_gradients()
    optimizer = Optimizer(model, Recipe(optimizer=name), Ranks())
    optimizer.step(1e-3)
    model.zero_grad(set_to_none=True)
    assert all(piece.parameter.grad is None for piece in optimizer.pieces)
    before = state(model)
    optimizer.step(1e-3)
    assert all(torch.equal(value, before[key]) for key, value in state(model).items())


def test_the_average_is_between_the_weights_it_saw() -> None:
    model = model_with_gradients()
    first, average = state(model), Average(model, 0.9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    views = [parameter.data_ptr() for parameter in model.parameters()]
    average.update(updates=1)
    name = "encoder.layers.0.up.weight"
    with average.applied():
        assert torch.allclose(model.get_parameter(name), first[name] + 9 / 11, atol=1e-6), "young averages forget"
    assert torch.allclose(model.get_parameter(name), first[name] + 1.0)
    assert [parameter.data_ptr() for parameter in model.parameters()] == views, "optimizers hold views of the weights"
