"""PubMedBERT rebuilt in the open: PubMed XML to corpus, vocabulary, pretraining and a filled mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pubmedbert.infer.fill_mask import FillMask as FillMask

__version__ = "0.1.0"
__all__ = ["FillMask", "__version__"]


def __getattr__(name: str) -> object:
    """Import the public classes on first use, so that `import pubmedbert` stays instant."""
    if name == "FillMask":
        from pubmedbert.infer.fill_mask import FillMask

        return FillMask
    raise AttributeError(f"module 'pubmedbert' has no attribute {name!r}")
