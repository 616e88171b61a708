"""Lines of a text file or stream, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from pubmedbert.errors import InputError

_LONGEST = 64 << 20  # bytes; a file without line ends must not fill the memory
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def numbered(stream: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
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
