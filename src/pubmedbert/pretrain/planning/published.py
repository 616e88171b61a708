"""How well plans agree with runs that were published: `pubmedbert plan --check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pubmedbert.model.config import SIZES, ModelConfig
from pubmedbert.model.flops import training_flops
from pubmedbert.pretrain.planning.gpus import Gpu, find_gpu, step_seconds
from pubmedbert.settings import read_toml

PREDICTED = {128: 20, 512: 80}
"""Pieces predicted in a row of a length, in NVIDIA's data."""


@dataclass(frozen=True)
class Check:
    """A published figure beside its prediction."""

    source: str
    gpu: str
    gpus: int
    size: str
    what: str
    """The length of the rows, or the phases of the run."""
    unit: Literal["sequences/s", "hours"]
    published: float
    predicted: float
    role: Literal["calibrates", "test", "reading"]
    """Whether the row decided the MFU, tests it, or is one reading of a run whose lengths were not published."""

    @property
    def error(self) -> float:
        """By how much too large the predicted time is: -0.1 for a prediction of nine tenths of it."""
        ratio = self.predicted / self.published
        return ratio - 1 if self.unit == "hours" else 1 / ratio - 1


def check() -> list[Check]:
    """Predict every run of published.toml."""
    known = read_toml(Path(__file__).with_name("published.toml"))
    return [_check(run, known["phases"]) for run in known["runs"]]


def mean_error(rows: Sequence[Check], role: str) -> float:
    """The mean size of the errors of one role."""
    return fmean(abs(row.error) for row in rows if row.role == role)


def row_flops(config: ModelConfig, length: int) -> float:
    """FLOPs of a row in the published codes: the last layer in full, the vocabulary head at masked places only."""
    return training_flops(config, [length], PREDICTED[length])


def parameters(config: ModelConfig) -> int:
    """Of a BERT with the masked-language-model head, roughly: its matrices and embeddings."""
    layer = 4 * config.width**2 + 2 * config.width * config.ffn
    return config.layers * layer + (config.vocab_size + config.max_positions) * config.width


def _check(run: Mapping[str, Any], phases: Mapping[str, Any]) -> Check:
    gpu, config = find_gpu(run["gpu"]), SIZES[run["size"]]
    if "rate" in run:
        length = run["length"]
        spent = step_seconds(row_flops(config, length), gpu, run["gpus"], config.width, length)
        unit, published, predicted, what = "sequences/s", run["rate"], 1 / spent, f"{length} tokens"
    else:
        plan = phases[run["phases"]]
        what = plan["source"] if run["source"].startswith("PubMedBERT") else "whole run"
        unit, published, predicted = "hours", run["hours"], _hours(gpu, run["gpus"], config, plan)
    role = "calibrates" if run.get("calibrates") else "reading" if run.get("reading") else "test"
    return Check(run["source"], gpu.title, run["gpus"], run["size"], what, unit, published, predicted, role)  # type: ignore[arg-type]


def _hours(gpu: Gpu, gpus: int, config: ModelConfig, phases: Mapping[str, Any]) -> float:
    gradients = 2.0 * parameters(config)  # in half precision, as these codes add them up
    seconds = 0.0
    for length, rows, steps in zip(phases["length"], phases["rows"], phases["steps"], strict=True):
        seconds += steps * step_seconds(rows * row_flops(config, length), gpu, gpus, config.width, length, gradients)
    return seconds / 3600
