"""PubMedBERT rebuilt in the open: PubMed XML to corpus, vocabulary, pretraining and a filled mask."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pubmedbert.infer.labels.predict import Predictor as Predictor
    from pubmedbert.infer.masks.fill_mask import FillMask as FillMask

__version__ = "0.1.0"
__all__ = ["FillMask", "Predictor", "__version__"]

_PUBLIC = {"FillMask": "pubmedbert.infer.masks.fill_mask", "Predictor": "pubmedbert.infer.labels.predict"}

# oneDNN, with which torch multiplies matrices, keeps what it prepared for the last 1,024 shapes, megabytes for each.
# Packs have new shapes all the time, and preparing one costs next to nothing. It asks when torch is loaded.
for _cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "16")


def __getattr__(name: str) -> object:
    """Import the public classes on first use, so that `import pubmedbert` stays instant."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'pubmedbert' has no attribute {name!r}")
