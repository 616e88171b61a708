"""What a fine-tuning is: one dataclass, filled from presets by size and task, a TOML file and `--set key=value`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Task
from pubmedbert.infer.labels.spans import SCHEMES
from pubmedbert.model.head import POOLINGS
from pubmedbert.settings import Settings, overrides, read_toml

PRESETS = Path(__file__).with_name("presets.toml")
SIZES = ("small", "base", "large", "electra")
NAMES = ("auto", "plain", *SIZES)
"""Recipes of the package: `auto` chooses by the model's size; `plain` has bias correction and warm-up, no more."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """Settings of a fine-tuning, each of which `--set key=value` changes."""

    lr: float = 5e-5
    """Highest learning rate."""
    batch: int = 32
    """Examples in an optimizer update."""
    epochs: int = 10
    """Passes over the training examples."""
    warmup: float = 0.1
    """Share of the updates in which the learning rate rises linearly from zero; it then falls linearly to zero."""
    beta1: float = 0.9
    """AdamW's decay of the first moment."""
    beta2: float = 0.999
    """AdamW's decay of the second moment."""
    eps: float = 1e-8
    """AdamW's epsilon."""
    weight_decay: float = 0.01
    """Decay of the matrices; biases and norms have none."""
    bias_correction: bool = True
    """Whether Adam's moments are corrected for their start at zero; BERT's own optimizer did not, which makes small
    data sets unstable (Mosbach et al. 2021; Zhang et al. 2021)."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    dropout: float = 0.1
    """Share of hidden activations and attention probabilities dropped."""
    max_length: int = 512
    """Longest row in word pieces, [CLS] and [SEP] included; not above the model's positions."""
    long: str = "windows"
    """What becomes of longer texts: "windows" reads all of it in overlapping rows and averages their states, "truncate"
    reads the beginning. In training the first eight windows of a text are read, which share a backward pass. Words are
    always read in windows, each classified once."""
    pooling: str = "pooler"
    """A text's state: pooler, cls, mean or max."""
    scheme: str = "bio"
    """Tags the model learns: bio, bioul or io; scores are computed on the spans."""
    style: str = "dummies"
    """How a relation's entities are shown: dummies (@GENE$), markers ([E1] ... [/E1]) or original."""
    freeze: int = 0
    """Lower layers that keep their weights, the embeddings with them; 0 freezes nothing."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each layer to the one below."""
    reinit: int = 0
    """Top layers, with the pooler, that start from new weights."""
    select: str = "best"
    """The epoch whose weights are kept: the best on dev, or the last."""
    restarts: int = 2
    """How often a seed starts anew when it collapses to a constant answer."""
    precision: str = "auto"
    """Matrix products of the training: fp32, bf16 (bfloat16; weights and predictions stay in fp32), or auto: bf16 on a
    processor that multiplies a third faster in it, as measured when the run begins, fp32 on any other."""
    pack_tokens: int = 4096
    """Most word pieces in a forward pass; an update's gradients are accumulated over its packs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch", "epochs"):
            self._within(name, 1, 2**20)
        for name in ("freeze", "reinit", "restarts"):
            self._within(name, 0, 1000)
        self._within("max_length", 8, 2**16)
        self._within("pack_tokens", 8, 2**24)
        for name in ("dropout", "beta1", "beta2"):
            self._within(name, 0, 0.9999)
        self._within("warmup", 0, 1)
        self._within("weight_decay", 0, 10)
        self._within("layer_decay", 0.01, 1)
        for name in ("lr", "eps", "clip"):
            self._within(name, 1e-12, 1e6)
        self._one_of("long", ("windows", "truncate"))
        self._one_of("pooling", POOLINGS)
        self._one_of("scheme", SCHEMES)
        self._one_of("style", ("dummies", "markers", "original"))
        self._one_of("select", ("best", "last"))
        self._one_of("precision", ("auto", "fp32", "bf16"))


def load_recipe(name: str, task: Task, size: str, given: Iterable[str] = ()) -> Recipe:
    """The settings for a task and a model.

    Args:
        name: a name of `NAMES`, or a TOML file, which fills what it names on top of `plain`.
        task: of the data set.
        size: of the model, from `size_of`; used by `auto`.
        given: overrides `key=value`.

    Raises:
        InputError: no such recipe, an unknown key, or a value out of range.
    """
    presets = read_toml(PRESETS)
    values = _of_file(name)
    if name in NAMES and name != "plain":
        values = presets["size"].get(size if name == "auto" else name, {})
        values |= presets["technique"].get(task, {})
    return Recipe.made(presets["task"][task] | values | overrides(given), f"recipe {name}")


def chosen(name: str, given: Iterable[str]) -> tuple[str, ...]:
    """The settings that are the user's own choice: those of a recipe file and the overrides.

    Raises:
        InputError: no such recipe, or an override is not `key=value`.
    """
    return (*_of_file(name), *overrides(given))


def _of_file(name: str) -> dict[str, Any]:
    """What a recipe file says; nothing for a recipe of the package."""
    if name in NAMES:
        return {}
    if not Path(name).is_file():
        raise InputError(f"no recipe {name!r}: it is no file, and none of {', '.join(NAMES)}")
    return read_toml(Path(name))


def size_of(layers: int, model: str, kind: object = "bert") -> str:
    """The size a recipe is chosen by: one of `SIZES`.

    The PubMedELECTRA on the hub are published as BERTs; nothing in their files tells, so their name has to.

    Args:
        layers: of the model.
        model: as the user named it.
        kind: the model_type of its config.json.
    """
    if kind == "electra" or "electra" in Path(model).name.lower():
        return "electra"
    return "small" if layers < 8 else "base" if layers < 16 else "large"
