"""What a pretraining run wrote, read for pictures and tables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pubmedbert import runs
from pubmedbert.errors import InputError
from pubmedbert.files import read_json
from pubmedbert.progress import say


@dataclass(frozen=True)
class Record:
    """What a run wrote."""

    name: str
    settings: dict[str, Any]
    """Its recipe; what it was trained on is left out."""
    steps: list[dict[str, Any]]
    """The lines of its steps."""
    evaluations: list[dict[str, Any]]
    """The lines of its evaluations."""
    skipped: int
    """Steps skipped for a gradient that was not finite or far too large."""
    breakdown: dict[str, list[dict[str, Any]]]
    """Accuracy by word frequency and word length, where `pubmedbert evaluate` was run on it."""
    broken_down: str = ""
    """The checkpoint that this is of."""
    breakdown_masks: str = ""
    """The hash of rows and masks that this was measured under."""

    @property
    def unigram(self) -> float:
        """The loss of the unigram model, in nats."""
        return float(next((e["unigram_loss"] for e in reversed(self.evaluations)), math.nan))


def read(folder: Path, name: str = "") -> Record:
    """Read what a run wrote; a run that has not started has no lines.

    Raises:
        InputError: its settings are missing or damaged.
    """
    lines = runs.metrics(folder)
    settings = {key: value for key, value in runs.config(folder).items() if not isinstance(value, dict)}
    found = _evaluation(folder / runs.EVALUATION)
    return Record(
        name or folder.resolve().name,
        settings,
        [line for line in lines if "loss" in line],
        [line for line in lines if "eval_loss" in line],
        sum("skipped" in line for line in lines),
        found.get("breakdown", {}),
        str(found.get("checkpoint", "")),
        str(found.get("masks", "")),
    )


def _evaluation(path: Path) -> dict[str, Any]:
    """What `pubmedbert evaluate` left; nothing, and a word about it, where that is damaged."""
    try:
        found: dict[str, Any] = read_json(path) if path.is_file() else {}
        for parts in found.get("breakdown", {}).values():
            for part in parts:
                str(part["name"]), float(part["accuracy"]), int(part["words"])
    except (InputError, AttributeError, KeyError, TypeError, ValueError):
        say(f"{path} is damaged and left out: 'pubmedbert evaluate' writes it anew")
        return {}
    return found
