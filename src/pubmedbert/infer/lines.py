"""Lines of a text file or stream: one at a time, or as many as are there."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from select import select
from typing import IO, Protocol, TypeVar, cast

from pubmedbert.errors import InputError

_LONGEST = 64 << 20  # bytes; a file without line ends must not fill the memory
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_READ = 1 << 16  # bytes read at a time

_Item = TypeVar("_Item")


class _Lines(Protocol):
    """What lines are read from."""

    def readline(self, limit: int, /) -> bytes: ...


def standard_input() -> IO[bytes]:
    """The bytes of standard input.

    Raises:
        InputError: it is closed.
    """
    if sys.stdin is None:
        raise InputError("standard input is closed: there is nothing to read from -")
    return sys.stdin.buffer


def numbered(stream: _Lines, name: str) -> Iterator[tuple[int, str]]:
    """Yield the number of each line, from 1, and the line without its end.

    Args:
        stream: UTF-8 text.
        name: of the file, for errors.

    Raises:
        InputError: a line is not UTF-8, or too long to be one.
    """
    number = 0
    while line := stream.readline(_LONGEST):
        number += 1
        if len(line) == _LONGEST:
            raise InputError(f"{name}, line {number}: it is longer than {_LONGEST >> 20} MB")
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        try:
            yield number, line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(f"{name}, line {number}: byte {error.start + 1} is not UTF-8") from error


def blocks(stream: IO[bytes], name: str, most: int) -> Iterator[list[tuple[int, str]]]:
    """Yield numbered lines so many at a time; fewer where the next one has to be waited for, as in a pipe.

    Args:
        stream: UTF-8 text, of which nothing has been read yet.
        name: of the file, for errors.
        most: lines in a block.

    Raises:
        InputError: as `numbered`, after the block of the lines before.
    """
    arriving = _Arriving(stream)

    def lines() -> Iterator[tuple[int, str] | None]:
        for line in numbered(arriving, name):
            yield line
            if arriving.waits():
                yield None

    return together(lines(), most)


def together(items: Iterable[_Item | None], most: int) -> Iterator[list[_Item]]:
    """Yield items so many at a time, fewer where a None stands between them.

    Raises:
        InputError: as `items` does, after the block of the items before.
    """
    block: list[_Item] = []
    try:
        for item in items:
            if item is not None:
                block.append(item)
            if block and (item is None or len(block) == most):
                yield block
                block = []
    except InputError:
        if block:
            yield block
        raise
    if block:
        yield block


class _Arriving:
    """A stream that tells whether its next line is there, or has to be waited for."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = cast(io.BufferedIOBase, stream)
        self._held = bytearray()  # what was read and is no part of a line yet
        self._searched = 0  # bytes of it without a line end
        self._ended = False

    def readline(self, limit: int, /) -> bytes:
        """The next line with its end, or so many bytes of it; nothing at the end of the stream."""
        while not self._whole(limit):
            self._read()
        end = self._held.find(b"\n", self._searched) + 1
        line = bytes(self._held[: min(end or limit, limit)])
        del self._held[: len(line)]
        self._searched = 0
        return line

    def waits(self) -> bool:
        """Whether the next line has to be waited for; reads what is there of it."""
        while not self._whole(_LONGEST):
            if not self._readable():
                return True
            self._read()
        return False

    def _whole(self, limit: int) -> bool:
        """Whether there is a line, so many bytes, or nothing more to come."""
        return self._ended or len(self._held) >= limit or self._held.find(b"\n", self._searched) >= 0

    def _read(self) -> None:
        self._searched = len(self._held)
        got = self._stream.read1(_READ)  # one read of the file below: what is there, and none of it is kept back
        self._ended = not got
        self._held += got

    def _readable(self) -> bool:
        try:
            return bool(select([self._stream], [], [], 0)[0])
        except io.UnsupportedOperation:  # bytes in memory
            return True
