"""The files of BLURB's data sets: whether they are there, and how each is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pubmedbert.blurb.readers import chemprot, ddi, hoc, questions, tables
from pubmedbert.blurb.readers.relation import Style, check_style
from pubmedbert.blurb.registry import Entry, entry
from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import SPLITS, Dataset, Example, Labelled, Split, Tagged
from pubmedbert.finetune.formats.columns import read_conll
from pubmedbert.infer.labels.spans import entities

_HELD_OUT: tuple[Split, ...] = ("dev", "test")


def open_dataset(name: str, data: Path, style: str = "dummies") -> Dataset:
    """A data set of BLURB, ready to be read.

    Args:
        name: one of `NAMES`.
        data: the folder that holds `BC5-chem/` and the others, or `blurb/` with them.
        style: how relation data sets that come with offsets show a pair: dummies, markers or original.

    Raises:
        InputError: there is no such data set or style, or a file of it is missing.
    """
    found, shown = entry(name), check_style(style)
    if missing := available(name, data):
        raise InputError(missing)
    if name == "gad" and shown != "dummies":
        raise InputError(f"GAD comes with dummies only, so its style cannot be {style!r}")
    folder = _folder(found, data)
    return Dataset(
        name=name,
        task=found.task,
        metric=found.metric,
        labels=found.labels,
        read=lambda split: _read(found, folder, split, shown),
        negative=found.negative,
        notes=found.deviations,
        remark=partial(_remark, found),
    )


def available(name: str, data: Path) -> str:
    """Nothing if all files of a data set are there; else a sentence: what is missing, where to get and to put it.

    Args:
        name: one of `NAMES`.
        data: as for `open_dataset`.

    Raises:
        InputError: there is no such data set.
    """
    found = entry(name)
    folder = _folder(found, data)
    missing = sorted({path for split in SPLITS for path in _absent(found, folder, split)})
    if not missing:
        return ""
    named = "".join(f", {path.relative_to(folder)}" for path in missing[1:])
    return f"{found.title} lacks {missing[0]}{named}: to put there, fetch {found.source}"


def held_out(name: str, data: Path) -> list[str]:
    """The texts of the dev and test sets, as written by their authors where the files tell; none of a missing file.

    Args:
        name: one of `NAMES`.
        data: as for `open_dataset`.

    Raises:
        InputError: there is no such data set, or a file of it is damaged.
    """
    found = entry(name)
    folder = _folder(found, data)
    texts: dict[str, None] = {}
    absent = lacking(name, data)
    for split in _HELD_OUT:
        for example in () if split in absent else _read(found, folder, split, "original"):
            parts = (" ".join(example.words),) if isinstance(example, Tagged) else (example.text, example.text_b)
            texts |= {part: None for part in parts if part is not None}
    return list(texts)


def lacking(name: str, data: Path) -> dict[Split, Path]:
    """Which of the dev and test sets are not there, and a file that each lacks.

    Args:
        name: one of `NAMES`.
        data: as for `open_dataset`.

    Raises:
        InputError: there is no such data set.
    """
    found = entry(name)
    folder = _folder(found, data)
    files = {split: _absent(found, folder, split) for split in _HELD_OUT}
    return {split: paths[0] for split, paths in files.items() if paths}


def _absent(of: Entry, folder: Path, split: Split) -> list[Path]:
    """The files of a split that are not there."""
    return [path for path in _files(of, folder, split) if not path.is_file()]


def counts(examples: Sequence[Example], of: Entry) -> int:
    """The size of a split in the unit of the paper's table: mentions, labelled words, or examples."""
    if of.unit == "mentions":
        return sum(len(entities(example.tags or ())) for example in examples if isinstance(example, Tagged))
    if of.unit == "labelled words":
        return sum(tag != "O" for example in examples if isinstance(example, Tagged) for tag in example.tags or ())
    return len(examples)


def _remark(of: Entry, split: Split, examples: Sequence[Example]) -> str:
    """That a split is not of the published size."""
    held, published = counts(examples, of), of.published(split)
    if held == published or (split == "dev" and held == of.dev_here):
        return ""
    return (
        f"{split} holds {held:,} {of.unit} where the published one holds {published:,}: "
        "scores do not compare with published ones."
    )


def _folder(of: Entry, data: Path) -> Path:
    inner = data / "blurb" / of.folder
    return inner if inner.is_dir() and not (data / of.folder).is_dir() else data / of.folder


def _files(of: Entry, folder: Path, split: Split) -> list[Path]:
    """The files that a split is read from."""
    if of.name == "chemprot":
        return [chemprot.chemprot_file(folder, split, kind) for kind in chemprot.KINDS]
    if of.name == "ddi":
        return [folder / ddi.ARCHIVE, folder / ddi.DEV_DOCUMENTS]
    if of.name == "pubmedqa":
        return questions.pubmedqa_files(folder, split)
    path = folder / f"{split}.tsv"
    devel = folder / "devel.tsv"
    either = devel.exists() or "devel.tsv" in of.source
    return [devel if split == "dev" and not path.exists() and either else path]


def _read(of: Entry, folder: Path, split: Split, style: Style) -> Sequence[Example]:
    if of.name == "chemprot":
        return chemprot.read_chemprot(folder, split, style)
    if of.name == "ddi":
        return ddi.read_ddi(folder, split, style)
    if of.name == "pubmedqa":
        return questions.read_pubmedqa(folder, split)
    (path,) = _files(of, folder, split)
    if of.task in ("ner", "words"):
        return _typed(read_conll(path, spans=of.task == "ner"), of, path)
    readers: dict[str, Callable[[Path], list[Labelled]]] = {
        "gad": tables.read_gad,
        "biosses": tables.read_biosses,
        "hoc": hoc.read_hoc,
        "bioasq": questions.read_bioasq,
    }
    return readers[of.name](path)


def _typed(sentences: list[Tagged], of: Entry, path: Path) -> list[Tagged]:
    """The sentences, if their tags are those of the data set."""
    tags = {tag for sentence in sentences for tag in sentence.tags or ()} - {"O"}
    found = {tag.partition("-")[2] for tag in tags} if of.task == "ner" else tags
    if strange := sorted(found - set(of.labels)):
        wanted = ", ".join(label or "none" for label in of.labels)
        raise InputError(f"{path}: the type {strange[0]!r} is not one of {of.title}: {wanted}")
    return sentences
