"""What keeps fine-tuning from falling over: frozen layers, layer-wise rates, new top layers, bias correction, restarts.

Tinn et al. 2021 study these on BLURB; they are those of Howard & Ruder 2018 (layer-wise rates, freezing), Zhang et al.
2021 (new top layers, bias correction) and Mosbach et al. 2021 (bias correction, warm-up, more epochs).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Example, Labelled, Tagged, Task
from pubmedbert.finetune.recipe import Recipe
from pubmedbert.model.encoder import initialise
from pubmedbert.model.tuned import Tuned

Answer = tuple[str, ...] | str | float
"""A prediction: tags, a class, a number, or the classes that hold."""


def mixed(*numbers: int) -> int:
    """A seed for one use of a run's seed, so that no two uses draw the same numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def depths(model: Tuned) -> Iterator[tuple[str, nn.Parameter, int]]:
    """Every parameter with its depth: 0 for the embeddings, 1 to L for the layers, L + 1 for pooler and classifier."""
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        if parts[0] != "encoder":
            yield name, parameter, model.config.layers + 1
        else:
            yield name, parameter, 0 if parts[1] == "embeddings" else int(parts[2]) + 1


def freeze(model: Tuned, layers: int) -> None:
    """Keep the embeddings and the lower `layers` layers as they are; 0 freezes nothing.

    Raises:
        InputError: the model has no more layers than that.
    """
    if layers >= model.config.layers:
        raise InputError(f"freeze = {layers}: the model has {model.config.layers} layers; at least one must learn")
    for _, parameter, depth in depths(model):
        parameter.requires_grad_(not (layers and depth <= layers))


def check_layers(recipe: Recipe, layers: int) -> None:
    """Refuse to freeze layers whose weights are drawn anew: they would never learn.

    Raises:
        InputError: a layer is to be both.
    """
    if recipe.freeze and recipe.reinit and recipe.freeze + recipe.reinit > layers:
        both = f"freeze = {recipe.freeze} and reinit = {recipe.reinit}"
        raise InputError(f"{both}: the model has {layers} layers, so some would be drawn anew and never learn")


def reinitialise(model: Tuned, layers: int, seed: int) -> None:
    """Draw new weights for the top `layers` layers and, where there are any, the pooler (Zhang et al. 2021, section 4).

    Raises:
        InputError: the model has fewer layers.
    """
    if layers > model.config.layers:
        raise InputError(f"reinit = {layers}: the model has only {model.config.layers} layers")
    for number, layer in enumerate(model.encoder.layers[model.config.layers - layers :]):
        initialise(layer, model.config, mixed(seed, 3, number))
    if layers and model.pooler is not None:
        initialise(model.pooler, model.config, mixed(seed, 4))


class Optimizer:
    """AdamW whose learning rate warms up, falls, and shrinks from layer to layer.

    Args:
        model: its frozen parameters are left out.
        recipe: the settings.
        steps: updates in the run.
    """

    def __init__(self, model: Tuned, recipe: Recipe, steps: int) -> None:
        self.recipe = recipe
        self.steps = steps
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
        for _, parameter, depth in depths(model):
            if parameter.requires_grad:
                groups.setdefault((depth, parameter.ndim >= 2), []).append(parameter)
        top = model.config.layers + 1
        self._scales = [recipe.layer_decay ** (top - depth) for depth, _ in groups]
        self._decays = [recipe.weight_decay if matrix else 0.0 for _, matrix in groups]
        self.adam = torch.optim.AdamW(
            [{"params": parameters} for parameters in groups.values()],
            betas=(recipe.beta1, recipe.beta2),
            fused=True,  # torch's default is many times slower on a CPU
        )

    def step(self, number: int) -> float:
        """Apply the gradients of update `number`, counted from 0; returns their norm before clipping.

        Without bias correction Adam would move by lr m / (sqrt(v) + eps); torch moves by
        lr' (m / c1) / (sqrt(v / c2) + eps'), which is the same for lr' = lr c1 / sqrt(c2) and eps' = eps / sqrt(c2).
        """
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip, foreach=True))
        lr, recipe = learning_rate(self.recipe, number, self.steps), self.recipe
        factor, eps = 1.0, recipe.eps
        if not recipe.bias_correction:
            root = math.sqrt(1 - recipe.beta2 ** (number + 1))
            factor, eps = (1 - recipe.beta1 ** (number + 1)) / root, recipe.eps / root
        for group, scale, decay in zip(self.adam.param_groups, self._scales, self._decays, strict=True):
            group["lr"], group["eps"], group["weight_decay"] = lr * scale * factor, eps, decay / factor
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        return norm


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step, counted from 0: up over the warm-up, then down to zero after the last step."""
    warmup = recipe.warmup * steps
    if step + 1 <= warmup:
        return recipe.lr * (step + 1) / warmup
    return recipe.lr * min(1.0, (steps - step) / max(steps - warmup, 1.0))


def collapsed(gold: Sequence[Example], answers: Sequence[Answer], task: Task) -> bool:
    """Whether a model says the same of every example although the examples differ.

    Words: all are O, or all of one class or type. A number: a spread below a hundredth of the gold's. Else: one answer.
    """
    if isinstance(gold[0], Tagged):
        found = _kinds((tags for tags in answers if isinstance(tags, tuple)), task)
        held = _kinds((example.tags or () for example in gold if isinstance(example, Tagged)), task)
        return len(found) == 1 and found != held
    labels = [example.label for example in gold if isinstance(example, Labelled)]
    if isinstance(labels[0], float):
        return bool(np.std(np.asarray(answers, float)) < 0.01 * np.std(np.asarray(labels, float)))
    return len(set(labels)) > 1 and len(set(answers)) == 1


def _kinds(sentences: Iterable[Sequence[str]], task: Task) -> set[str]:
    """The classes of words, or O and the types of entities: where in an entity a word stands is no other answer."""
    tags = {tag for tags in sentences for tag in tags}
    return tags if task == "words" else {tag if tag == "O" else f"entity{tag[1:]}" for tag in tags}
