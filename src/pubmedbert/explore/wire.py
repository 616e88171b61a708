"""A view as one binary answer: a JSON header, then all maps at a byte a number.

    4 bytes   "PBX1"
    4 bytes   length of the header, little-endian
    header    JSON, UTF-8
    the rest  `layers * H * T * T` bytes in this order, through deflate (zlib's format) where the header says so

A byte b stands for (b / 255)². Small shares, of which there are most, are told apart better so than by equal steps: an
attention a is off by at most √a / 255 + 1 / 510², never more than `LARGEST_ERROR`. The sum of a row of T, 1 before, is
off by at most √T / 255 + T / 510²; for 128 places that is 4.5% if all errors lean one way, and thousandths in fact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.explore.view import View

MAGIC = b"PBX1"
LARGEST_ERROR = 1 / 255
"""The most that a single attention is off."""
_STEPS = 255
_LEVEL = 1  # of deflate: higher ones take longer than the model


def encode(view: View, about: Mapping[str, object] | None = None, *, deflate: bool = True) -> bytes:
    """A view as bytes.

    The header has `maps` (`shape`, `[layers, H, T, T]`, and `packed`, "deflate" or "none"), `tokens` (`id`, `piece`,
    `text`, `start`, `end`, `word`, `special`, `masked`), `second`, `guesses` (for each place `[id, piece,
    probability]`), `says`, `notices`, and what `about` holds.

    Args:
        view: what is sent; its hidden states stay behind.
        about: what else the header is to say, such as the model's name.
        deflate: whether the maps are compressed, which browsers undo by DecompressionStream.
    """
    maps: Any = quantise(view.attentions)
    header = {
        **(about or {}),
        "maps": {"shape": list(maps.shape), "packed": "deflate" if deflate else "none"},
        "tokens": [asdict(token) for token in view.row.tokens],
        "second": view.row.second,
        "guesses": view.guesses
        and [[[guess.id, guess.piece, round(guess.probability, 6)] for guess in place] for place in view.guesses],
        "says": view.says,
        "notices": list(view.notices),
    }
    written = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    if deflate:
        from isal import isal_zlib

        maps = isal_zlib.compress(maps.data, _LEVEL)
    else:
        maps = maps.data
    return b"".join([MAGIC, len(written).to_bytes(4, "little"), written, maps])


def decode(data: bytes) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """The header and the maps `[layers, H, T, T]` of an answer.

    Raises:
        InputError: it is no such answer, or damaged.
    """
    import zlib

    try:
        start = 8 + int.from_bytes(data[4:8], "little")
        header: dict[str, Any] = json.loads(data[8:start])
        shape, body = header["maps"]["shape"], data[start:]
        size = int(np.prod(shape, dtype=object))
        if header["maps"]["packed"] == "deflate":
            body = zlib.decompressobj().decompress(body, size + 1)  # never more than it says
        if data[:4] != MAGIC or len(shape) != 4 or len(body) != size:
            raise InputError("these bytes are no attention view, or are cut short")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, zlib.error) as error:
        raise InputError("these bytes are no attention view, or are damaged") from error
    return header, restore(np.frombuffer(body, np.uint8).reshape(shape))


def quantise(attentions: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Numbers from 0 to 1 as bytes, `[layers, ...]`; a layer at a time, so that what is computed stays in the cache."""
    found = np.empty(attentions.shape, np.uint8)
    room = np.empty(attentions.shape[1:], np.float32)
    for layer, numbers in enumerate(attentions):
        np.sqrt(numbers, out=room)
        np.multiply(room, np.float32(_STEPS), out=room)
        np.add(room, np.float32(0.5), out=room)
        np.copyto(found[layer], room, casting="unsafe")  # towards 0: rounded, by the half added
    return found


def restore(steps: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the bytes stand for."""
    return np.square(np.arange(_STEPS + 1, dtype=np.float32) / _STEPS)[steps]
