"""Files as NLM and users name them: endings, stems, the sequence, and their bytes with the gzip taken off."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from zlib import error as zlib_error

from pubmedbert.errors import InputError

XML_ENDINGS = (".xml", ".xml.gz")
JSON_ENDINGS = (".jsonl", ".jsonl.gz")
ENDINGS = XML_ENDINGS + JSON_ENDINGS

_NUMBERED = re.compile(r"(?:pubmed|medline)(?:sample)?(\d\d)n(\d{4})(?!\d)")
_SAMPLE = re.compile(r"medsamp\d\d(\d\d)(?!\d)")
_GZIP_MAGIC = b"\x1f\x8b"


def is_json(path: Path) -> bool:
    """Whether the name says JSON lines."""
    return path.name.lower().endswith(JSON_ENDINGS)


def stem_of(path: Path) -> str:
    """The name without its ending, safe as the name of a part: anything unusual becomes "_".

    Raises:
        InputError: the ending is none that we read.
    """
    lower = path.name.lower()
    ending = max((e for e in ENDINGS if lower.endswith(e)), key=len, default="")
    if not ending:
        raise InputError(f"{path} is neither XML nor JSON lines by its name: it must end in {', '.join(ENDINGS)}")
    return re.sub(r"[^\w.-]", "_", path.name[: -len(ending)]) or "_"


def sequence_of(name: str) -> int:
    """The place of a file among NLM's: year * 10,000 + number, from its name; 0 for files that NLM did not number.

    `pubmed26n1334` is 261334, `medsamp2014` is 140000. Files of a year's baseline and its updates count on, so a
    larger sequence is newer, whatever the order in which files arrive.
    """
    if match := _NUMBERED.match(name):
        return int(match[1]) * 10_000 + int(match[2])
    match = _SAMPLE.match(name)
    return int(match[1]) * 10_000 if match else 0


@contextmanager
def open_bytes(path: Path, advance: Callable[[int], object] | None = None) -> Iterator[IO[bytes]]:
    """Open a file for reading, through isal if its bytes (not its name) say gzip.

    Args:
        path: the file.
        advance: told how many bytes of the file were read, each time.

    Raises:
        InputError: the file can't be read, is empty, or its gzip is damaged or truncated (also while reading).
    """
    from isal import igzip

    try:
        with path.open("rb") as file:
            magic = file.read(2)
            if not magic:
                raise InputError(f"{path} is empty: if it was downloaded, download it again")
            file.seek(0)
            raw = io.BufferedReader(_Counted(file, advance), 1 << 17) if advance else file
            yield igzip.IGzipFile(fileobj=raw, mode="rb") if magic == _GZIP_MAGIC else raw
    except EOFError as error:
        raise InputError(f"{path} is truncated, its gzip has no end: download it again") from error
    except (igzip.BadGzipFile, igzip.igzip_lib.IsalError, zlib_error) as error:
        raise InputError(f"{path} is damaged gzip ({error}): download it again") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


class _Counted(io.RawIOBase):
    """A file that tells how many bytes were read from it."""

    def __init__(self, file: IO[bytes], advance: Callable[[int], object]) -> None:
        super().__init__()
        self._file = file
        self._advance = advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._advance(len(data))
        return len(data)
