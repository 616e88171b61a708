"""What the front and a model's process say to each other: frames of a length, a status and JSON."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping, Sequence
from typing import IO, Any

OK, REFUSED, FAILED = b"\x00", b"\x01", b"\x02"
"""An answer; a sentence on bad input; a sentence on an error of ours."""
Frame = tuple[bytes, bytes]
"""Status and payload."""

_HEAD = struct.Struct(">Ic")


def packed(status: bytes, payload: bytes) -> bytes:
    """A frame as bytes."""
    return _HEAD.pack(len(payload), status) + payload


def jobs_to_json(jobs: Sequence[Mapping[str, object]]) -> bytes:
    """A batch as a payload. The `parameters` that jobs of one request share, as one object, are written once."""
    shared = {id(job["parameters"]): job["parameters"] for job in jobs}
    places = {identity: place for place, identity in enumerate(shared)}
    short = [{**job, "parameters": places[id(job["parameters"])]} for job in jobs]
    return json.dumps({"parameters": [*shared.values()], "jobs": short}).encode()


def jobs_from_json(payload: bytes) -> list[dict[str, Any]]:
    """The jobs of a batch."""
    batch = json.loads(payload)
    return [{**job, "parameters": batch["parameters"][job["parameters"]]} for job in batch["jobs"]]


def read(stream: IO[bytes]) -> Frame | None:
    """The next frame of a blocking stream; None at its end."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, status = _HEAD.unpack(head)
    payload = stream.read(length)
    return (status, payload) if len(payload) == length else None


async def receive(stream: asyncio.StreamReader) -> Frame:
    """The next frame.

    Raises:
        asyncio.IncompleteReadError: the other side has ended.
    """
    length, status = _HEAD.unpack(await stream.readexactly(_HEAD.size))
    return status, await stream.readexactly(length)
