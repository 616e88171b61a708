"""Tensors as they lie in a file: mapped into memory, not read, and made fp32 one by one when they are asked for."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors import SafetensorError, safe_open

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
"""Bits of bfloat16, a number that numpy does not have: `floats` knows it."""

_LONGEST_HEADER = 2 << 20  # bytes; a header may name so many tensors that they fill the memory

# The names of the safetensors format.
_KINDS: dict[str, DTypeLike] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": BFLOAT16,
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Around safetensors' `save_file`: the file is readable by whoever may read the folder.

    Raises:
        OSError: the disk is full or the file can't be written.
    """
    path.touch()
    mode = path.stat().st_mode  # as for any new file; the library would let nobody but the owner read it
    try:
        yield
    except SafetensorError as error:  # it hides the system's error in a text
        raise OSError(str(error)) from error
    path.chmod(mode)


class Floats(Mapping[str, NDArray[np.float32]]):
    """Stored tensors as fp32: those that are fp32 in the file stay there, the others are converted at each access.

    Args:
        stored: arrays over a mapped file.
    """

    def __init__(self, stored: Mapping[str, NDArray[Any]]) -> None:
        self._stored = stored

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return floats(self._stored[name])

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def floats(stored: NDArray[Any]) -> NDArray[np.float32]:
    """A stored tensor in fp32, contiguous and aligned; a copy only where it must be."""
    if stored.dtype == BFLOAT16:  # the upper half of an fp32
        return (stored["bfloat16"].astype(np.uint32, order="C") << 16).view(np.float32)
    with np.errstate(over="ignore"):  # an fp64 beyond fp32 becomes infinite, as in torch
        return np.require(stored, np.float32, ["C", "A"])


def mapped(path: Path) -> mmap.mmap:
    """The bytes of a file, for reading; they stay mapped as long as an array over them lives.

    Raises:
        OSError: the file can't be read.
        ValueError: it is empty.
    """
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file.

    Raises:
        SafetensorError: the file is damaged.
        OSError: it can't be read.
        ValueError: its numbers are of a kind that can't be read.
    """
    with path.open("rb") as file:
        begin = 8 + int.from_bytes(file.read(8), "little")
    if begin > _LONGEST_HEADER:
        raise SafetensorError(f"a header of {begin:,} bytes, where some thousands are enough")
    with safe_open(path, framework="np"):  # the library checks the header: places, shapes, overlaps
        data = mapped(path)
    header = json.loads(data[8:begin])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] not in _KINDS:
            raise ValueError(f"{name} is of kind {entry['dtype']}, only {', '.join(_KINDS)} can be read")
        first, end = entry["data_offsets"]
        kind = np.dtype(_KINDS[entry["dtype"]])
        flat = np.frombuffer(data, kind, (end - first) // kind.itemsize, begin + first)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors
