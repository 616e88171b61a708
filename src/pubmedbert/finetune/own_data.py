"""A user's own data set: a small TOML file that says where the examples are and what their columns mean."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import SPLITS, TOKEN_TASKS, Dataset, Example, Labelled, Split, Tagged, Task, labels_of
from pubmedbert.finetune.formats.bioasq import read_bioasq_golden
from pubmedbert.finetune.formats.columns import ROW_FORMATS, Row, RowFormat, number, read_conll, read_rows
from pubmedbert.finetune.formats.hoc import read_hoc_originals
from pubmedbert.finetune.formats.pubtator import altered, read_pubtator, tagged
from pubmedbert.infer.tokenizer import valid
from pubmedbert.settings import read_toml

TASKS: tuple[Task, ...] = get_args(Task)
Release = Literal["pubtator", "bioasq", "hoc"]
Format = Literal["conll"] | Release | RowFormat
FORMATS: tuple[Format, ...] = ("conll", *get_args(Release), *ROW_FORMATS)
METRICS: dict[Task, tuple[str, ...]] = {
    "ner": ("entity_f1",),
    "words": ("word_macro_f1",),
    "relation": ("micro_f1", "macro_f1", "accuracy"),
    "similarity": ("pearson", "spearman"),
    "classification": ("accuracy", "macro_f1", "micro_f1"),
    "multilabel": ("multilabel_f1",),
    "pairs": ("accuracy", "macro_f1", "micro_f1"),
}
"""What a task may be measured by; the first unless the file says otherwise."""

Reader = Callable[[Path], Sequence[Example]]
"""Reads the examples of a file."""

_Name = TypeVar("_Name", bound=str)
_RELEASES: dict[Format, Reader] = {
    "pubtator": lambda file: tagged(read_pubtator(file)),
    "bioasq": read_bioasq_golden,
    "hoc": read_hoc_originals,
}
"""Forms that leave nothing to be said of columns."""
_FORMATS: dict[Task, tuple[Format, ...]] = {
    "ner": ("conll", "pubtator"),
    "words": ("conll",),
    "pairs": (*ROW_FORMATS, "bioasq"),
    "multilabel": (*ROW_FORMATS, "hoc"),
}
_RELEASE_KEYS = {"task", "format", "train", "dev", "test", "metric"}
_CONLL_KEYS = _RELEASE_KEYS | {"text", "label"}
_ROW_KEYS = _CONLL_KEYS | {"text_b", "id", "document", "negative", "separator"}
_WITH_NEGATIVE: tuple[Task, ...] = ("relation", "classification", "pairs")
_TWO_TEXTS: tuple[Task, ...] = ("similarity", "pairs")
_DEV_SHARE = 10  # a tenth of train, where there is no dev


@dataclass(frozen=True)
class _Own:
    """The TOML file, checked."""

    path: Path
    task: Task
    files: dict[Split, Path]
    metric: str
    negative: str | None
    read: Reader
    form: Format
    documents: bool
    """Whether it names a column of documents."""

    @property
    def train_only(self) -> bool:
        return "dev" not in self.files


def open_own(path: Path) -> Dataset:
    """Open the data set that a TOML file describes.

    Its keys: `task`, one of `TASKS`; `format` (`conll` for ner and words, `pubtator` for ner; `jsonl`, `csv` or `tsv`
    for the others, `bioasq` for pairs, `hoc` for multilabel); `train` and, if there are, `dev` and `test`, files
    relative to it, gzip or not; `text`, `text_b`, `label` and `id`, the names of columns (in conll `text` and `label`
    are numbers of columns, from 0: the first and the last unless given); `negative`, the class that the F1 leaves out;
    `metric`; `separator` of the labels in a cell (multilabel, ","; lines of JSON have lists).

    Train and dev are read to collect the labels, test only when it is asked for. A label of dev that train lacks is a
    class that can't be learned: it stays in the gold, and a note names it. Where there is no dev, a tenth of train's
    documents (texts, where there are not ten documents), chosen by a hash, is.

    Raises:
        InputError: the file can't be read, a key is unknown or of no use, a file is missing, or an example is bad.
    """
    own = _own(path)
    labels: tuple[str, ...] = ()
    notes: list[str] = []
    if own.task != "similarity":
        labels = _collected(own, "train")
        least = 1 if own.task in (*TOKEN_TASKS, "multilabel") else 2
        if len(labels) < least:
            held = f"{len(labels) or 'no'} label{'' if len(labels) == 1 else 's'}"
            where = f"{own.files['train']}{' without the tenth that is dev' if own.train_only else ''}"
            raise InputError(f"{where} has {held}: {least} or more are wanted")
        if own.negative is not None and own.negative not in labels:
            raise InputError(f"{path}: the negative class {own.negative!r} is none of the labels: {', '.join(labels)}")
        strange = sorted(set(_collected(own, "dev")) - set(labels))
        if strange:
            where = "dev" if own.train_only else own.files["dev"].name
            notes.append(f"{where} has labels that the training examples lack: {', '.join(strange)}.")
            labels = (*labels, *strange)
    if own.train_only:
        notes.append(f"dev is a tenth of {own.files['train'].name}, chosen by a hash: the files have none.")
        if own.task == "relation" and not own.documents:
            notes.append('Pairs of one sentence may be in train and in dev; document = "COLUMN" prevents that.')
    return Dataset(
        name=path.stem,
        task=own.task,
        metric=own.metric,
        labels=labels,
        read=partial(_split, own),
        negative=own.negative,
        notes=tuple(notes),
        remark=partial(_remark, own),
    )


def _remark(own: _Own, split: Split, _: Sequence[Example]) -> str:
    """How the gold of a split differs from its file."""
    if own.form != "pubtator" or split not in own.files:
        return ""
    said = altered(read_pubtator(own.files[split]))
    return f"{own.files[split].name}: {said}." if said else ""


def _collected(own: _Own, split: Split) -> tuple[str, ...]:
    """The labels that occur in a split, in order."""
    return tuple(sorted({label for example in _split(own, split) for label in labels_of(example, own.task)}))


def _split(own: _Own, split: Split) -> Sequence[Example]:
    if split == "test" and "test" not in own.files:
        raise InputError(f'{own.path} names no test file: add test = "FILE" to score on it')
    if split == "test" or not own.train_only:
        return own.read(own.files[split])
    examples = own.read(own.files["train"])
    by_document = own.documents or len({example.document for example in examples}) >= _DEV_SHARE
    whole = [_whole(example, by_document) for example in examples]
    shuffled = sorted(set(whole), key=lambda text: hashlib.sha256(text.encode()).digest())
    if len(shuffled) < 2:
        raise InputError(f'{own.files["train"]} is too small to take a tenth as dev: add dev = "FILE" to {own.path}')
    held_out = set(shuffled[: max(1, round(len(shuffled) / _DEV_SHARE))])
    return [example for example, of in zip(examples, whole, strict=True) if (of in held_out) == (split == "dev")]


def _whole(example: Example, by_document: bool) -> str:
    """What must not be on both sides: the document where that is known, and there are enough of them, or the text."""
    if by_document and example.document:
        return example.document
    return " ".join(example.words) if isinstance(example, Tagged) else f"{example.text}\n{example.text_b or ''}"


def _own(path: Path) -> _Own:
    table = read_toml(path)
    task = _choice(path, table, "task", TASKS)
    form = _choice(path, table, "format", FORMATS)
    right = _FORMATS.get(task, ROW_FORMATS)
    if form not in right:
        raise InputError(f"{path}: format = {form!r} does not go with task = {task!r}: it must be {' or '.join(right)}")
    keys = _RELEASE_KEYS if form in _RELEASES else _CONLL_KEYS if form == "conll" else _ROW_KEYS
    if unknown := sorted(table.keys() - keys):
        raise InputError(f"{path}: {unknown[0]!r} is no key for {form}; the keys are {', '.join(sorted(keys))}")
    if "negative" in table and task not in _WITH_NEGATIVE:
        raise InputError(f"{path}: negative goes with the tasks {', '.join(_WITH_NEGATIVE)}, not with {task}")
    if "separator" in table and (task != "multilabel" or form == "jsonl"):
        raise InputError(f"{path}: separator goes with the task multilabel in csv and tsv only")
    if "train" not in table:
        raise InputError(f"{path}: train is missing: it names the file of training examples")
    files = {split: path.parent / _string(path, table, split) for split in SPLITS if split in table}
    for file in files.values():
        if not file.is_file():
            what = "is no file" if file.exists() else "does not exist"
            raise InputError(f"{path} names {file}, which {what}: paths are relative to the TOML file")
    default = "micro_f1" if "negative" in table else METRICS[task][0]
    return _Own(
        path=path,
        task=task,
        files=files,
        metric=_choice(path, table, "metric", METRICS[task]) if "metric" in table else default,
        negative=_string(path, {"negative": _written(table["negative"])}, "negative") if "negative" in table else None,
        read=_reader(path, table, task, form),
        form=form,
        documents="document" in table,
    )


def _reader(path: Path, table: dict[str, Any], task: Task, form: Format) -> Reader:
    if form == "conll":
        return _conll(path, table, task)
    return _RELEASES[form] if form in _RELEASES else _rows(path, table, task, cast(RowFormat, form))


def _conll(path: Path, table: dict[str, Any], task: Task) -> Reader:
    token, tag = _column(path, table, "text", 0), _column(path, table, "label", -1)
    return partial(read_conll, token=token, tag=tag, spans=task == "ner")


def _rows(path: Path, table: dict[str, Any], task: Task, form: RowFormat) -> Reader:
    text, label = (_string(path, table, key, key) for key in ("text", "label"))
    second = _string(path, table, "text_b", "text_b") if task in _TWO_TEXTS or "text_b" in table else None
    identifier, document = (_string(path, table, key) if key in table else None for key in ("id", "document"))
    separator = None if form == "jsonl" else _string(path, table, "separator", ",")

    def read(file: Path) -> Sequence[Example]:
        examples: list[Example] = []
        seen: set[str] = set()
        for count, row in enumerate(read_rows(file, form), 1):
            name = _scalar(row, identifier) if identifier else str(count)
            if name in seen:
                raise InputError(f"{row.where}: the id {name!r} came before: every example needs its own")
            seen.add(name)
            _check_quotes(row, str(row.cell(label)), form)
            said = _label(row, label, task, separator)
            of = _scalar(row, document) if document else ""
            examples.append(Labelled(name, row.text(text), said, row.text(second) if second else None, of))
        if not examples:
            raise InputError(f"{file} holds no example")
        return examples

    return read


def _check_quotes(row: Row, label: str, form: RowFormat) -> None:
    """Refuse a quotation mark that was meant to quote a cell, and would be a part of the label."""
    if form == "tsv" and label.startswith('"'):
        raise InputError(f"{row.where}: a label begins with a quotation mark: cells of a tsv are not quoted; use csv")
    if form == "csv" and label.startswith(" ") and label.lstrip(" ").startswith('"'):
        raise InputError(f"{row.where}: a space stands before the quotation mark of a cell: take it out")


def _label(row: Row, column: str, task: Task, separator: str | None) -> str | float | tuple[str, ...]:
    if task == "similarity":
        return number(row, column)
    if task != "multilabel":
        return _scalar(row, column)
    value = row.cell(column)
    if separator is not None and isinstance(value, str):
        value = [part.strip() for part in value.split(separator) if part.strip()]
    if not isinstance(value, list):
        raise InputError(f'{row.where}: "{column}" must be a list of labels, not {value!r}')
    labels: set[str] = set()
    for item in value:
        text = _written(item)
        if not isinstance(text, str) or not text.strip():
            raise InputError(
                f'{row.where}: "{column}" must be a list of texts, whole numbers, true or false; {item!r} is none'
            )
        labels.add(text.strip())
    try:
        return tuple(sorted(valid(label) for label in labels))
    except InputError as error:
        raise InputError(f"{row.where}: {error}") from error


def _scalar(row: Row, column: str) -> str:
    """A text; JSON's whole numbers and truth values as it writes them."""
    value = row.cell(column)
    if isinstance(value, float):
        raise InputError(f'{row.where}: "{column}" must be a text, a whole number, true or false, not {value}')
    return str(_written(value)) if isinstance(value, int) else row.text(column)


def _written(value: object) -> object:
    """A whole number or a truth value as JSON writes it; other values as they are."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else value


def _string(path: Path, table: dict[str, Any], key: str, default: str = "") -> str:
    value = table.get(key, default)
    if not isinstance(value, str) or not value:
        raise InputError(f'{path}: {key} must be a text such as {key} = "...", not {value!r}')
    return value


def _column(path: Path, table: dict[str, Any], key: str, default: int) -> int:
    value = table.get(key, default)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,3}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{path}: {key} must be the number of a column, from 0, or from -1 backwards, not {value!r}")
    return value


def _choice(path: Path, table: dict[str, Any], key: str, names: Sequence[_Name]) -> _Name:
    value = table.get(key)
    for name in names:
        if value == name:
            return name
    said = f"not {value!r}" if key in table else "it is missing"
    raise InputError(f"{path}: {key} must be one of {', '.join(names)}; {said}")
