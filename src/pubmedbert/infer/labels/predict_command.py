"""`pubmedbert predict`: files and streams of texts or words in, JSON lines out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from pubmedbert.errors import InputError
from pubmedbert.infer.engine import Backend
from pubmedbert.infer.labels.conll import DOCUMENT, rows
from pubmedbert.infer.lines import blocks, numbered, standard_input, together
from pubmedbert.progress import beside_answers

if TYPE_CHECKING:
    from pubmedbert.infer.labels.predict import Predictor
    from pubmedbert.infer.labels.said import Prediction

CHUNK = 256
"""Most inputs that are read, predicted and printed at a time."""
_WORDS = (".conll", ".iob", ".iob2", ".bio", ".tsv")
_ENDINGS = (".jsonl", ".txt", *_WORDS)

Level = Literal["tokens", "text"]


@dataclass(frozen=True, slots=True)
class Input:
    """One thing to predict: a text with or without a second one, or words."""

    value: tuple[str, str | None] | list[str]
    """Words as a list."""
    identity: dict[str, object] = field(default_factory=dict)
    """The "id" of the input, where it has one."""


def predict(
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    *,
    model: str,
    backend: Backend = "auto",
) -> None:
    """Let a fine-tuned model label texts or words: JSON lines on standard output, one for each input, in order.

    Parameters
    ----------
    file
        .jsonl: objects with "text" (and "text_b" for the second of a pair), or "words" (or "tokens"), a list; their
        "id" is printed again. .txt: a text a line, empty lines are skipped. .conll, .iob, .iob2, .bio or .tsv: a token
        a line, in the first column, and an empty line between sentences. A single - reads texts or JSON lines from
        standard input, and answers them as they arrive.
    model
        A fine-tuned model: a folder in Hugging Face layout, or a hub id.
    backend
        What computes: onnx (onnxruntime) or torch; auto is torch only where onnxruntime is not installed.
    """
    from pubmedbert.infer.labels.predict import Predictor

    out = sys.stdout  # a progress bar takes its place while it is shown
    with _opened(file) as stream:
        predictor = Predictor(model, backend=backend)
        name = "standard input" if file == "-" else file
        unit = "sentences" if Path(file).suffix.lower() in _WORDS else "texts"
        with beside_answers(f"predicting {name}", unit) as advance:
            for block in read(stream, file, predictor.head.level, pairs=predictor.pairs):
                for given, said in zip(block, _predictions(predictor, block), strict=True):
                    print(json.dumps(given.identity | said, ensure_ascii=False), file=out)
                out.flush()
                advance(len(block))


def read(stream: IO[bytes], file: str, level: Level, *, pairs: bool | None = None) -> Iterator[list[Input]]:
    """Yield the inputs of a file in blocks; of a pipe those that are there.

    Args:
        stream: its bytes.
        file: its name, which says what it holds; for "-" the first character does.
        level: whether the model speaks of words or of texts.
        pairs: whether each text must have a second one; None where it may.

    Raises:
        InputError: a line can't be read, or does not fit the model; after the block of the inputs before.
    """
    name = "standard input" if file == "-" else file
    ending = Path(file).suffix.lower()
    if ending not in _WORDS:
        json_lines = None if file == "-" else ending == ".jsonl"
        inputs: Iterable[Input | None] = _lines(blocks(stream, name, CHUNK), name, json_lines, level, pairs)
    elif level == "text":
        raise InputError(f"{name} holds words, but this model classifies texts; give it .txt or .jsonl")
    else:
        inputs = _sentences(numbered(stream, name), name)
    return together(inputs, CHUNK)


def _lines(
    arriving: Iterable[list[tuple[int, str]]], name: str, json_lines: bool | None, level: Level, pairs: bool | None
) -> Iterator[Input | None]:
    """An input for each line, and None where the next one may have to be waited for.

    Whether they are lines of JSON is told by the first character, where it is not known.
    """
    for block in arriving:
        for number, line in block:
            if line.strip():
                if json_lines is None:
                    json_lines = line.lstrip().startswith("{")
                try:
                    yield _object(line, level, pairs) if json_lines else _single(line, pairs)
                except InputError as error:
                    raise InputError(f"{name}, line {number}: {error}") from error
        yield None


def _predictions(predictor: Predictor, block: list[Input]) -> Iterator[Prediction]:
    """The predictions in order; neighbours of one kind are predicted together."""
    for _, run in groupby((given.value for given in block), key=type):
        values = list(run)
        words = [value for value in values if isinstance(value, list)]
        texts = [value for value in values if isinstance(value, tuple)]
        yield from predictor.predict_words(words) if words else predictor.predict_texts(texts)


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield standard_input()
        return
    if Path(file).suffix.lower() not in _ENDINGS:
        raise InputError(f"{file} must end in {', '.join(_ENDINGS)}; - reads standard input")
    with Path(file).open("rb") as stream:
        yield stream


def _sentences(lines: Iterable[tuple[int, str]], name: str) -> Iterator[Input]:
    """The words in the first column, one sentence at a time; beginnings of documents and comments are no words."""
    words: list[str] = []
    for number, cells in chain(rows(lines), [(0, [])]):
        if cells and not cells[0].strip(" "):
            raise InputError(f"{name}, line {number}: the first column, the token, is empty")
        if cells and not cells[0].startswith(DOCUMENT):
            words.append(cells[0].strip(" "))
        elif words:
            yield Input(words)
            words = []


def _single(line: str, pairs: bool | None) -> Input:
    """The input in a line of text."""
    if pairs:
        raise InputError('this model was tuned on pairs of texts: .jsonl with "text" and "text_b" is wanted')
    return Input((line, None))


def _object(line: str, level: Level, pairs: bool | None) -> Input:
    """The input in a line of JSON."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error}): every line must be one JSON object") from error
    if not isinstance(record, dict):
        raise InputError(f"a JSON object is wanted, not {type(record).__name__}")
    identity = {"id": record["id"]} if "id" in record else {}
    _string(json.dumps(identity, ensure_ascii=False), "id")  # whatever it is, it is printed again
    for key in ("words", "tokens") if level == "tokens" else ():
        if key in record:
            words = record[key]
            if not isinstance(words, list):
                raise InputError(f'"{key}" must be a list of strings, not {json.dumps(words)[:40]}')
            return Input([_string(word, key) for word in words], identity)
    if "text" not in record:
        speaks = (
            'tags words: an object with "text" or "words"' if level == "tokens" else 'classifies texts: one with "text"'
        )
        raise InputError(f"this model {speaks} is wanted")
    second = record.get("text_b")
    if second is not None and level == "tokens":
        raise InputError('this model tags one text at a time; leave "text_b" out')
    if second is not None and pairs is False:
        raise InputError('this model reads one text at a time; leave "text_b" out')
    if second is None and pairs:
        raise InputError('this model was tuned on pairs of texts; give each its second text, "text_b"')
    return Input((_string(record["text"], "text"), None if second is None else _string(second, "text_b")), identity)


def _string(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise InputError(f'"{key}" must hold strings, not {json.dumps(value)[:40]}')
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f'"{key}" holds half of a surrogate pair at character {error.start + 1}') from error
    return value
