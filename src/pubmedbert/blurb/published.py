"""What others have published on the 13 data sets, to stand beside our numbers."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Published:
    """A model's row in a paper."""

    name: str
    source: str
    scores: dict[str, float]
    """By data set, in percent (BIOSSES: 100 times the correlation); some models have not all 13."""
    sd: dict[str, float] = field(default_factory=dict)
    """Over seeds, where it was printed."""
    blurb: float | None = None
    """The BLURB score as printed."""
    note: str = ""


@cache
def published() -> tuple[Published, ...]:
    """All rows of `published.toml`, oldest first."""
    text = files("pubmedbert.blurb").joinpath("published.toml").read_text(encoding="utf-8")
    return tuple(Published(**row) for row in tomllib.loads(text)["model"])
