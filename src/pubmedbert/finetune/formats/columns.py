"""Files that many data sets come in: columns of words and tags (CoNLL), and rows of named columns; gzip or not."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pubmedbert.corpus.source import open_bytes
from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Tagged
from pubmedbert.infer.labels.conll import DOCUMENT, rows
from pubmedbert.infer.labels.spans import entities

RowFormat = Literal["jsonl", "csv", "tsv"]
ROW_FORMATS: tuple[RowFormat, ...] = get_args(RowFormat)

OFFSET = "[0-9]{1,9}"
"""A place in a text; longer numbers are no places, and Python refuses to read the longest."""
_LONGEST_LINE = 64 << 20  # bytes; a file without line ends must not fill the memory
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class Row:
    """A row and where it stands."""

    where: str
    """File and line, as messages begin."""
    cells: dict[str, object]
    """By the name of the column; strings, but for JSON lines."""

    def text(self, column: str) -> str:
        """The text in a column, white space at its ends taken off.

        Raises:
            InputError: there is no such column, or no text in it.
        """
        value = self.cell(column)
        if not isinstance(value, str):
            raise InputError(f'{self.where}: "{column}" must be a string, not {json.dumps(value)[:40]}')
        if not value.strip():
            raise InputError(f'{self.where}: "{column}" is empty: every example needs a text there')
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(f'{self.where}: "{column}" holds half of a surrogate pair') from error
        return value.strip()

    def cell(self, column: str) -> object:
        """What is in a column, as the file has it.

        Raises:
            InputError: there is no such column.
        """
        if column not in self.cells:
            raise InputError(f'{self.where}: it has no column "{column}", only {", ".join(map(str, self.cells))}')
        return self.cells[column]


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each line of a text with where it stands: file and line, as messages begin.

    Raises:
        InputError: the file is missing, empty or damaged, or a line is not UTF-8 or endless.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    with open_bytes(path) as stream:
        number = 0
        while line := stream.readline(_LONGEST_LINE):
            number += 1
            where = f"{path}, line {number}"
            if len(line) == _LONGEST_LINE:
                raise InputError(f"{where}: it is longer than {_LONGEST_LINE >> 20} MB")
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{where}: byte {error.start + 1} is not UTF-8: save the file as UTF-8") from error
            yield where, text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text


def read_rows(path: Path, form: RowFormat, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Yield the rows of a table.

    A csv may quote cells, which then may hold commas and line ends; in a tsv a quotation mark is a character like any
    other, as BLURB's files have it. A line of JSON is an object.

    Args:
        path: the file, gzip or not.
        form: what the lines are.
        columns: the names of the columns where the file has no header; unless given, the first row names them.

    Raises:
        InputError: the file can't be read, or a row has more or fewer cells than there are columns.
    """
    if form == "jsonl":
        yield from _objects(path)
        return
    names = list(columns) if columns else None
    for where, cells in _csv(path) if form == "csv" else _tsv(path):
        if names is None:
            names = [name.strip() for name in cells]
            if len(set(names)) < len(names) or not all(names):
                raise InputError(f"{where}: the header must name every column, each by its own name, not {names}")
        elif len(cells) != len(names):
            raise InputError(f"{where}: {len(names)} columns are wanted ({', '.join(names)}), not {len(cells)}")
        else:
            yield Row(where, dict(zip(names, cells, strict=True)))


def read_conll(path: Path, token: int = 0, tag: int = -1, spans: bool = True) -> list[Tagged]:
    """Read words with a tag each, one a line, and a blank line between sentences.

    Columns are parted by tabs, or by spaces in lines without one. A line `-DOCSTART- ID` begins a document. Comments
    before a sentence (`pubmedbert.infer.labels.conll`) are left out. The id of a sentence is its running number, in
    the file or, where documents have ids, in its document (`ID.3`). Tags stay as they are.

    Args:
        path: the file, gzip or not.
        token: the column of the word, from 0; negative from the last.
        tag: the column of the tag.
        spans: whether tags spell entities (`B-Gene`, `I`, `O`), in whatever scheme; otherwise any string is a tag.

    Raises:
        InputError: the file can't be read, or a line lacks a column or has no tag.
    """
    sentences: list[Tagged] = []
    words: list[str] = []
    tags: list[str] = []
    document = ""
    counts: Counter[str] = Counter()

    def close() -> None:
        if words:
            counts[document] += 1
            number = f"{document}.{counts[document]}" if document else str(counts[document])
            sentences.append(Tagged(number, tuple(words), tuple(tags), document))
            words.clear()
            tags.clear()

    for where, cells in rows(read_lines(path)):
        if not cells:
            close()
        elif cells[0].startswith(DOCUMENT):
            close()
            document = _document(cells, len(sentences))
        else:
            word, label = _word(where, cells, token, tag)
            if spans:
                _check_tag(where, label)
            words.append(word)
            tags.append(label)
    close()
    if not sentences:
        raise InputError(f"{path} holds no sentence: lines of a word and its tag are wanted")
    return sentences


def number(row: Row, column: str) -> float:
    """The number in a column.

    Raises:
        InputError: there is no such column, or no finite number in it.
    """
    value = row.cell(column)
    try:
        strange = isinstance(value, bool) or (isinstance(value, str) and "_" in value)  # which Python takes for numbers
        found = math.nan if strange else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise InputError(f'{row.where}: "{column}" must be a number, not {value!r}')
    return found


def check_unique(ids: Collection[str], path: Path) -> None:
    """Refuse a file in which two examples have one id.

    Raises:
        InputError: so it is.
    """
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise InputError(f"{path}: the id {twice[0]!r} occurs more than once: every example needs its own")


def _document(cells: Sequence[str], sentences: int) -> str:
    """The id of a document, without parentheses; a number where it has none, as in CoNLL-2003 (`-X- -X- O`)."""
    rest = " ".join(cells)[len(DOCUMENT) :].split()
    name = rest[0].strip("()") if rest else ""
    return name if name not in ("", "-X-", "O") else f"after-{sentences}" if sentences else "first"


def _word(where: str, cells: Sequence[str], token: int, tag: int) -> tuple[str, str]:
    needed = max(column + 1 if column >= 0 else -column for column in (token, tag))
    if len(cells) < max(needed, 2):
        raise InputError(
            f"{where}: a word and its tag are wanted, parted by a tab or spaces, not {' '.join(cells).strip()[:40]!r}"
        )
    if any("\r" in cell for cell in cells):
        raise InputError(f"{where}: a carriage return stands inside the line: save the file with other line ends")
    word, label = cells[token].strip(" "), cells[tag].strip()
    if not word or not label:
        raise InputError(f"{where}: the {'tag' if word else 'word'} is empty")
    return word, label


def _check_tag(where: str, tag: str) -> None:
    try:
        entities((tag,))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _tsv(path: Path) -> Iterator[tuple[str, list[str]]]:
    for where, line in read_lines(path):
        if line.strip():
            yield where, line.rstrip("\r\n").split("\t")


def _csv(path: Path) -> Iterator[tuple[str, list[str]]]:
    where = str(path)

    def lines() -> Iterator[str]:
        nonlocal where
        for place, line in read_lines(path):
            where = place
            yield line

    csv.field_size_limit(2**27)  # the default refuses long texts; lines are bounded by `read_lines`
    reader = csv.reader(lines(), strict=True)
    try:
        for cells in reader:
            if cells:
                yield where, cells
    except csv.Error as error:
        raise InputError(
            f"{where}: not CSV ({error}): quote cells that hold commas, double the quotes in them"
        ) from error


def _objects(path: Path) -> Iterator[Row]:
    for where, line in read_lines(path):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else error
            raise InputError(f"{where}: not JSON ({reason}): every line must be one JSON object") from error
        if not isinstance(value, dict):
            raise InputError(f"{where}: a JSON object is wanted, not {type(value).__name__}")
        yield Row(where, value)
