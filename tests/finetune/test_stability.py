"""Freezing, layer-wise rates, new top layers, Adam without bias correction, and the collapse detector."""

from __future__ import annotations

import math

import pytest
import torch

from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Labelled, Tagged
from pubmedbert.finetune.recipe import Recipe
from pubmedbert.finetune.stability import (
    Optimizer,
    check_layers,
    collapsed,
    depths,
    freeze,
    learning_rate,
    reinitialise,
)
from pubmedbert.model.head import Head
from pubmedbert.model.tuned import Tuned
from tests.model.reference import SMALL, randomise


def model() -> Tuned:
    made = Tuned(SMALL, Head(level="text", labels=("no", "yes")))
    randomise(made)
    return made


def loss(tuned: Tuned) -> torch.Tensor:
    tokens = torch.tensor([5, 6, 7, 8, 9])
    places = torch.tensor([0, 1, 0, 1, 2])
    wanted = torch.tensor([0, 1])
    return torch.nn.functional.cross_entropy(tuned(tokens, places, torch.zeros_like(tokens), [2, 3]), wanted)


def moved(recipe: Recipe, steps: int = 1) -> dict[str, float]:
    """How far each parameter has moved after some updates."""
    tuned = model().eval()
    freeze(tuned, recipe.freeze)
    before = {name: value.detach().clone() for name, value in tuned.named_parameters()}
    optimizer = Optimizer(tuned, recipe, 10)
    for step in range(steps):
        loss(tuned).backward()  # type: ignore[no-untyped-call]
        optimizer.step(step)
    return {name: float((value.detach() - before[name]).abs().max()) for name, value in tuned.named_parameters()}


def test_depths_run_from_the_embeddings_to_the_classifier() -> None:
    found = {name: depth for name, _, depth in depths(model())}
    assert found["encoder.embeddings.words.weight"] == 0
    assert found["encoder.layers.0.up.weight"] == 1
    assert found["encoder.layers.1.up.weight"] == 2
    assert found["pooler.dense.weight"] == found["classifier.weight"] == 3


def test_frozen_layers_stay_and_the_others_move() -> None:
    found = moved(Recipe(freeze=1, warmup=0.0))
    for name, distance in found.items():
        frozen = name.startswith(("encoder.embeddings", "encoder.layers.0"))
        assert (distance == 0) == frozen, name


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(InputError, match="at least one must learn"):
        freeze(model(), 2)


def test_what_is_drawn_anew_must_not_be_frozen() -> None:
    check_layers(Recipe(freeze=1, reinit=1), 2)
    check_layers(Recipe(reinit=2), 2)
    with pytest.raises(InputError, match="freeze = 1 and reinit = 2: the model has 2 layers"):
        check_layers(Recipe(freeze=1, reinit=2), 2)


def test_rates_shrink_from_layer_to_layer() -> None:
    found = moved(Recipe(layer_decay=0.1, warmup=0.0, weight_decay=0.0, eps=1e-12, lr=1e-3))
    assert found["classifier.weight"] == pytest.approx(1e-3, rel=0.01)  # Adam's first step is lr
    assert found["encoder.layers.1.up.weight"] == pytest.approx(1e-4, rel=0.01)
    assert found["encoder.layers.0.up.weight"] == pytest.approx(1e-5, rel=0.02)
    assert found["encoder.embeddings.norm.bias"] == pytest.approx(1e-6, rel=0.2)


def test_new_top_layers_and_pooler() -> None:
    tuned, before = model(), model().state_dict()
    reinitialise(tuned, 1, 7)
    changed = {name for name, value in tuned.state_dict().items() if not torch.equal(value, before[name])}
    assert all(name.startswith(("encoder.layers.1.", "pooler.")) for name in changed)
    assert "encoder.layers.1.attention.qkv.weight" in changed
    assert "pooler.dense.weight" in changed
    assert float(tuned.get_parameter("encoder.layers.1.up.weight").detach().std()) == pytest.approx(
        SMALL.initializer_range, rel=0.1
    )
    with pytest.raises(InputError, match="only 2 layers"):
        reinitialise(tuned, 3, 7)


@pytest.mark.parametrize("corrected", [True, False])
def test_adam_with_and_without_bias_correction(corrected: bool) -> None:
    """Against the formulas (Loshchilov & Hutter 2019), written out."""
    recipe = Recipe(bias_correction=corrected, warmup=0.5, lr=1e-2, clip=1e6, weight_decay=0.1, beta2=0.98)
    tuned = model().eval()
    expected = {name: value.detach().clone().double() for name, value in tuned.named_parameters()}
    first = {name: torch.zeros_like(value) for name, value in expected.items()}
    second = {name: torch.zeros_like(value) for name, value in expected.items()}
    optimizer = Optimizer(tuned, recipe, 6)
    for step in range(6):
        loss(tuned).backward()  # type: ignore[no-untyped-call]
        rate = learning_rate(recipe, step, 6)
        for name, parameter in tuned.named_parameters():
            assert parameter.grad is not None
            gradient = parameter.grad.double()
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.98 * second[name] + 0.02 * gradient**2
            mean, square = first[name], second[name]
            if corrected:
                mean, square = mean / (1 - 0.9 ** (step + 1)), square / (1 - 0.98 ** (step + 1))
            if parameter.ndim >= 2:
                expected[name] *= 1 - rate * 0.1
            expected[name] -= rate * mean / (square.sqrt() + recipe.eps)
        optimizer.step(step)
        for name, parameter in tuned.named_parameters():
            assert torch.allclose(parameter.double(), expected[name], atol=2e-5), (name, step)


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    recipe = Recipe(lr=1.0, warmup=0.2)
    rates = [learning_rate(recipe, step, 10) for step in range(10)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert learning_rate(recipe, 10, 10) == 0
    assert all(math.isfinite(rate) for rate in rates)


def labelled(*labels: str | float | tuple[str, ...]) -> list[Labelled]:
    return [Labelled(str(number), "text", label) for number, label in enumerate(labels)]


def test_collapse() -> None:
    assert collapsed(labelled("yes", "no"), ["yes", "yes"], "classification")
    assert not collapsed(labelled("yes", "no"), ["yes", "no"], "classification")
    assert not collapsed(labelled("yes", "yes"), ["yes", "yes"], "classification"), (
        "one class is right where there is one"
    )
    assert collapsed(labelled(0.0, 2.0, 4.0), [2.0, 2.001, 2.0], "similarity")
    assert not collapsed(labelled(0.0, 2.0, 4.0), [1.0, 2.0, 2.5], "similarity")
    assert collapsed(labelled(("a",), ()), [(), ()], "multilabel")
    tagged = [Tagged("0", ("x", "y"), ("B-D", "O"))]
    assert collapsed(tagged, [("O", "O")], "ner")
    assert not collapsed(tagged, [("O", "B-D")], "ner")
    assert collapsed(tagged, [("B-D", "I-D")], "ner"), "everything is an entity of one type"
    assert not collapsed([Tagged("0", ("x", "y"), ("B-D", "I-D"))], [("B-D", "B-D")], "ner")
    classes = [Tagged("0", ("x", "y"), ("NOUN", "VERB"))]
    assert collapsed(classes, [("NOUN", "NOUN")], "words")
    assert not collapsed(classes, [("NOUN", "ADJ")], "words")
    untyped = [Tagged("0", ("x", "y"), ("B", "O"))]
    assert collapsed(untyped, [("B", "I")], "ner"), "everything is an entity"
    assert not collapsed(untyped, [("B", "O")], "ner")
    assert not collapsed([Tagged("0", ("x", "y"), ("I", "P"))], [("I", "P")], "words"), "here I is a class"
