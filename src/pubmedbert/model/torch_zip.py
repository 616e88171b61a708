"""The tensors of a pytorch_model.bin, without torch and without running anything.

`torch.save` has written two forms: since torch 1.6 a zip archive, whose members are stored as they are, and before it
pickles with the numbers behind them. In both the numbers stay in the file, mapped into memory; the pickles are read by
`pubmedbert.model.unpickle`.
"""

from __future__ import annotations

import io
import mmap
import zipfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from pubmedbert.model.config import ModelError
from pubmedbert.model.tensors import mapped
from pubmedbert.model.unpickle import CodeError, Storage, View, run

_LONGEST_PICKLE = 2 << 20  # bytes; that of a BERT-large has 60 thousand
_LONGEST_DIRECTORY = 2 << 20  # bytes of a zip archive's; zipfile makes an object of every 46 of them
_MOST_AXES = 8
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what the older form begins with


def read_torch(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a file that `torch.save` wrote of a model's `state_dict()`.

    Args:
        path: in the form of torch 1.6 or newer, or in the one before.

    Returns:
        Arrays over the mapped file; `pubmedbert.model.tensors.floats` makes them fp32.

    Raises:
        ModelError: the file is damaged, in another form, holds something else, or asks for code.
        OSError: it can't be read.
    """
    try:
        data = mapped(path)
        table = _read_zip(path, data) if data[:4] == b"PK\x03\x04" else _read_older(data)
    except CodeError as error:
        raise ModelError(
            f"{path} is damaged or asks for code beside weights, which is never run ({error}); "
            "a model.safetensors is safe"
        ) from error
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ModelError(f"{path} cannot be read as weights: {type(error).__name__}: {reason}") from error
    if table is None:
        raise ModelError(f"{path} holds no table of tensors")
    return table


def _read_zip(path: Path, data: mmap.mmap) -> dict[str, NDArray[Any]] | None:
    """The form since torch 1.6: the pickle is the member `data.pkl`, each storage one of its own."""
    with _Sparing(path) as file, zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
    roots = [name.removesuffix("data.pkl") for name in members if name.split("/")[1:] == ["data.pkl"]]
    if len(roots) != 1:
        raise ValueError("a zip archive with one data.pkl is wanted")
    root = roots[0]
    places = {name: _place(member, data) for name, member in members.items()}
    if root + "byteorder" in places and _bytes(data, places[root + "byteorder"], 16) != b"little":
        raise ValueError("its numbers have the highest byte first")
    pickle = _bytes(data, places[root + "data.pkl"], _LONGEST_PICKLE)
    return _tensors(run(io.BytesIO(pickle), {}), data, lambda storage: places[f"{root}data/{storage.key}"])


class _Sparing(io.FileIO):
    """A file for zipfile, which asks for the whole directory at once."""

    def read(self, size: int | None = -1) -> bytes | None:  # type: ignore[override]
        if size is not None and size > _LONGEST_DIRECTORY:
            raise ValueError(f"it has a directory of {size:,} bytes; {_LONGEST_DIRECTORY:,} are enough for any BERT")
        return super().read(size)


def _place(member: zipfile.ZipInfo, data: mmap.mmap) -> tuple[int, int]:
    """First byte of a member, and the one past its last; nothing is ever inflated."""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 or member.file_size != member.compress_size:
        raise ValueError(f"its member {member.filename!a:.60} is compressed; torch stores them as they are")
    header = member.header_offset
    if header < 0 or data[header : header + 4] != b"PK\x03\x04":
        raise ValueError(f"its member {member.filename!a:.60} is not where it should be")
    name, extra = (int.from_bytes(data[header + place : header + place + 2], "little") for place in (26, 28))
    first = header + 30 + name + extra
    return first, first + member.file_size


def _bytes(data: mmap.mmap, place: tuple[int, int], longest: int) -> bytes:
    first, end = place
    if end - first > longest:
        raise ValueError(f"it has a pickle of {end - first:,} bytes; {longest:,} are enough for any BERT")
    return data[first:end]


def _read_older(data: mmap.mmap) -> dict[str, NDArray[Any]] | None:
    """The form before torch 1.6: pickles of signs, tensors and the order of storages, then size and numbers of each."""
    stream = io.BytesIO(data[:_LONGEST_PICKLE])
    if run(stream, {}) != _MAGIC or run(stream, {}) != _PROTOCOL:
        raise ValueError("neither form that torch.save writes; save it anew with torch, or as model.safetensors")
    system = run(stream, {})
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("its numbers have the highest byte first")
    known: dict[str, Storage] = {}
    found = run(stream, known)
    keys = run(stream, {})
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise TypeError("the list of storages is missing")
    places: dict[str, tuple[int, int]] = {}
    end = stream.tell()
    for key in keys:
        first = end + 8  # the size, once more, comes before the numbers
        end = first + int.from_bytes(data[end:first], "little") * known[key].kind.itemsize
        places[key] = first, end
    return _tensors(found, data, lambda storage: places[storage.key])


def _tensors(
    found: object, data: mmap.mmap, place: Callable[[Storage], tuple[int, int]]
) -> dict[str, NDArray[Any]] | None:
    """What the pickle describes, laid over the file; None where that is no table of tensors."""
    if not isinstance(found, dict) or not all(isinstance(view, View) for view in found.values()):
        return None
    return {str(name): _laid_over(view, data, place(view.storage)) for name, view in found.items()}


def _laid_over(view: View, data: mmap.mmap, place: tuple[int, int]) -> NDArray[Any]:
    """A tensor's numbers, none of them outside its storage, and the storage inside the file."""
    storage, (first, end) = view.storage, place
    size = storage.kind.itemsize
    count = storage.size - storage.first if storage.count is None else storage.count
    if len(view.shape) != len(view.strides) or len(view.shape) > _MOST_AXES:
        raise ValueError("a tensor's strides do not fit its shape")
    whole = (view.offset, storage.first, count, *view.shape, *view.strides)
    if not all(isinstance(number, int) and number >= 0 for number in whole):
        raise ValueError("a tensor's shape, stride or offset is no whole number from 0")
    if storage.first + count > storage.size or storage.size * size > end - first or end > len(data):
        raise ValueError("a storage is cut short")
    last = view.offset + sum((length - 1) * stride for length, stride in zip(view.shape, view.strides, strict=True))
    elements = prod([int(length) for length in view.shape])
    if elements > count or (elements and last >= count):
        raise ValueError("a tensor lies outside its storage")
    if not elements:
        return np.zeros(view.shape, storage.kind)
    flat = np.frombuffer(data, storage.kind, last + 1 - view.offset, first + (storage.first + view.offset) * size)
    return as_strided(flat, view.shape, [stride * size for stride in view.strides], writeable=False)
