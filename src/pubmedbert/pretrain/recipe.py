"""What a pretraining run is: one dataclass, filled from a TOML file and `--set key=value`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pubmedbert.errors import InputError
from pubmedbert.model.config import SIZES, ModelConfig
from pubmedbert.settings import Settings, overrides, read_toml

RECIPES = Path(__file__).with_name("recipes")


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """Settings of a pretraining run, each of which `--set key=value` changes."""

    size: str = "mini"
    """Shape of the model: tiny, mini, small, medium, base or large."""
    dropout: float = 0.1
    """Share of hidden activations dropped."""
    attention_dropout: float = 0.1
    """Share of attention probabilities dropped."""
    max_positions: int = 512
    """Learned positions of the model."""
    initializer_range: float = 0.02
    """Standard deviation of the initial weights."""
    length: int = 128
    """Longest row in word pieces, [CLS] and [SEP] included."""
    mask_share: float = 0.15
    """Share of word pieces to predict."""
    rows: int = 256
    """Rows in a step: the batch of one optimizer update."""
    pack_tokens: int = 8192
    """Most word pieces in one forward pass; a step's gradients are accumulated over its packs."""
    steps: int = 1000
    """Optimizer updates in the run."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises linearly from zero; it then falls linearly to zero."""
    lr: float = 6e-4
    """Highest learning rate."""
    beta1: float = 0.9
    """AdamW's decay of the first moment."""
    beta2: float = 0.98
    """AdamW's decay of the second moment."""
    eps: float = 1e-6
    """AdamW's epsilon."""
    weight_decay: float = 0.01
    """Decay of the matrices; biases and norms have none."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    seed: int = 0
    """Decides the initial weights, the order, the masks and the dropout."""
    evaluate_every: int = 200
    """Steps between evaluations on held-out documents; the last step is always evaluated."""
    evaluate_rows: int = 2048
    """Held-out rows in an evaluation."""
    checkpoint_every: int = 200
    """Steps between checkpoints; the last step always leaves one."""
    keep: int = 2
    """Newest checkpoints kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._one_of("size", SIZES)
        self._within("max_positions", 4, 2**16)
        self._within("length", 4, self.max_positions)
        self._within("seed", 0, 2**31)
        self._within("initializer_range", 1e-4, 1)
        for name in ("rows", "steps", "evaluate_every", "evaluate_rows", "checkpoint_every", "keep"):
            self._within(name, 1, 2**40)
        self._within("pack_tokens", self.length, 2**24)
        self._within("mask_share", 0.01, 0.9)
        for name in ("dropout", "attention_dropout", "beta1", "beta2"):
            self._within(name, 0, 0.9999)
        self._within("warmup", 0, 1)
        self._within("weight_decay", 0, 10)
        for name in ("lr", "eps", "clip"):
            self._within(name, 1e-12, 1e6)

    def model(self, vocab_size: int, pad_id: int) -> ModelConfig:
        """The model's shape for a vocabulary of that size."""
        return replace(
            SIZES[self.size],
            vocab_size=vocab_size,
            pad_id=pad_id,
            max_positions=self.max_positions,
            initializer_range=self.initializer_range,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
        )


def load_recipe(name: str, given: Iterable[str] = ()) -> Recipe:
    """Read a recipe and apply overrides.

    Args:
        name: one of the recipes in the package ("mini"), or a TOML file.
        given: overrides `key=value`, the value written as in TOML; text may go without quotes.

    Raises:
        InputError: no such recipe, no TOML, an unknown key, or a value out of range.
    """
    known = {path.stem: path for path in sorted(RECIPES.glob("*.toml"))}
    if name not in known and not Path(name).is_file():
        raise InputError(f"no recipe {name!r}: it is no file, and none of {', '.join(known)}")
    values = read_toml(known.get(name, Path(name))) | overrides(given)
    return Recipe.made(values, f"recipe {name}")
