"""What `pubmedbert export --int8` leaves in a model folder: which matrices may be rounded, and how it then answers.

It is a verdict, not a model: the rounded matrices are made of the folder's own weights when they are first used, and
kept in the cache as the fp32 ones are. So int8 can be neither stale nor foreign, and a folder holds no program.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pubmedbert.errors import InputError
from pubmedbert.files import read_json, write_json

INT8_FILE = "int8.json"
VERSION = 2
"""Of how matrices are rounded and computed, and of the file; a verdict of another one does not hold."""


def write_verdict(folder: Path, fingerprint: str, figures: Mapping[str, object], int8: frozenset[str]) -> None:
    """Write a verdict.

    Args:
        folder: of the model.
        fingerprint: of its weights and shape: the verdict is on these alone.
        figures: how the rounded model agrees.
        int8: the matrices (see `weight_file.matrices`) that may be rounded to 8 bits.
    """
    write_json(
        folder / INT8_FILE, {"version": VERSION, "fingerprint": fingerprint, **figures, "int8_matrices": sorted(int8)}
    )


def read_verdict(folder: Path, fingerprint: str) -> frozenset[str] | None:
    """The matrices that may be rounded; None where the verdict is on other weights, or was reached by other rules.

    Raises:
        InputError: the file is missing, or no JSON.
    """
    verdict = read_json(folder / INT8_FILE)
    int8 = verdict.get("int8_matrices")
    if (verdict.get("version"), verdict.get("fingerprint")) != (VERSION, fingerprint) or not isinstance(int8, list):
        return None
    return frozenset(map(str, int8)) or None


def has_verdict(folder: Path, fingerprint: str, judged_by: Mapping[str, object]) -> bool:
    """Whether a folder holds a verdict that still holds.

    Args:
        folder: of a model; it need not exist.
        fingerprint: of the weights and shape that the verdict is to be on.
        judged_by: those of its figures that say by what text it was reached.
    """
    try:
        figures = read_json(folder / INT8_FILE)
        return read_verdict(folder, fingerprint) is not None and judged_by.items() <= figures.items()
    except InputError:  # missing or damaged
        return False
