"""JSON lines to citations: one object a line, read one line at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pubmedbert.corpus.citation import Citation, identify, parse_pmid, plain
from pubmedbert.corpus.source import open_bytes, sequence_of, stem_of
from pubmedbert.errors import InputError

_LONGEST_LINE = 64 << 20  # bytes; a file without line ends must not fill the memory
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_jsonl(path: Path, advance: Callable[[int], object] | None = None) -> Iterator[Citation]:
    """Yield the records of a file of JSON lines, in its order.

    A record has `title` and `abstract` (one of them may be missing) and, if known, `pmid`, `version`, `source`, `year`,
    `languages` (default: ["eng"]), `publication_types`, `journal` and `status`; other keys are ignored. `pmid` may be a
    number, a string of digits or null.

    Args:
        path: .jsonl or .jsonl.gz.
        advance: told how many bytes of the file were read, each time.

    Raises:
        InputError: the file is damaged, or a line is not such an object.
    """
    stem = stem_of(path)
    sequence = sequence_of(stem)
    empty = True
    with open_bytes(path, advance) as stream:
        number = 0
        while line := stream.readline(_LONGEST_LINE):
            number += 1
            if number == 1:
                line = line.removeprefix(_BYTE_ORDER_MARK)
            try:
                if len(line) == _LONGEST_LINE:
                    raise InputError(f"it is longer than {_LONGEST_LINE >> 20} MB")
                if not line.strip():
                    continue
                yield _citation(_object(line), stem, sequence)
                empty = False
            except InputError as error:
                raise InputError(f"{path}, line {number}: {error}") from error
    if empty:
        raise InputError(f"{path} holds no record: every line must be a JSON object with title and abstract")


def _object(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start + 1} is not UTF-8: save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error}): every line must be one JSON object") from error
    if not isinstance(record, dict):
        raise InputError(f"a JSON object is wanted, not {type(record).__name__}")
    if "title" not in record and "abstract" not in record:
        raise InputError('an object with "title" and "abstract" is wanted, this one has neither')
    return record


def _citation(record: dict[str, Any], stem: str, sequence: int) -> Citation:
    title, abstract = _text(record, "title"), _text(record, "abstract")
    pmid = _pmid(record.get("pmid"))
    return Citation(
        doc_id=identify(pmid, title, abstract),
        pmid=pmid,
        version=_number(record, "version", 0, 10**9) or 1,
        title=title,
        abstract=abstract,
        languages=[code.lower() for code in _texts(record, "languages", []) or ["eng"]],
        publication_types=_texts(record, "publication_types", []),
        journal=_text(record, "journal"),
        year=_number(record, "year", 1, 9999),
        status=_text(record, "status"),
        source=_text(record, "source") or stem,
        sequence=sequence,
    )


def _pmid(value: object) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InputError(f'"pmid" must be a number, a string of digits or null, not {json.dumps(value)[:40]}')
    return parse_pmid(str(value))


def _number(record: dict[str, Any], key: str, least: int, most: int) -> int | None:
    value = record.get(key)
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
        value = int(value)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f'"{key}" must be a whole number from {least} to {most} or null, not {json.dumps(value)[:40]}')
    return value


def _text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    return "" if value is None else _plain(value, key)


def _texts(record: dict[str, Any], key: str, default: list[str]) -> list[str]:
    value = record.get(key)
    if value is None:
        return default
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list):
        raise InputError(f'"{key}" must be a list of strings, not {json.dumps(value)[:40]}')
    return [text for item in values if (text := _plain(item, key))]


def _plain(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise InputError(f'"{key}" must be a string, not {json.dumps(value)[:40]}')
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f'"{key}" holds half of a surrogate pair at character {error.start + 1}') from error
    return plain(value)
