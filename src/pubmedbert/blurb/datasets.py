"""The registry: the 13 data sets of BLURB, where their files are, and how they differ from what was published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from pubmedbert.blurb.readers import chemprot, ddi, hoc, questions, tables
from pubmedbert.blurb.readers.relation import Style, check_style
from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import SPLITS, Dataset, Example, Labelled, Split, Tagged, Task
from pubmedbert.finetune.formats.bioasq import ANSWERS
from pubmedbert.finetune.formats.columns import read_conll
from pubmedbert.finetune.formats.hoc import HALLMARKS
from pubmedbert.infer.labels.spans import entities

Group = Literal[
    "NER", "PICO", "Relation extraction", "Sentence similarity", "Document classification", "Question answering"
]
Unit = Literal["mentions", "labelled words", "pairs", "sentences", "abstracts", "questions"]


@dataclass(frozen=True)
class Entry:
    """A data set as the paper has it (Gu et al. 2020, table 3), and its files here."""

    name: str
    """On the command line."""
    title: str
    """As the paper writes it."""
    task: Task
    metric: str
    group: Group
    """The type of task: the BLURB score is the mean over these of the mean over their data sets."""
    folder: str
    labels: tuple[str, ...]
    train: int
    """Published size of the training set, in units."""
    dev: int
    test: int
    unit: Unit
    source: str
    """Where its files are to be had, and what they are."""
    seeds: int = 5
    """Runs that the paper averages over."""
    negative: str | None = None
    deviations: tuple[str, ...] = ()
    """How our reading differs from the published counts and files."""
    dev_here: int | None = None
    """What the dev set of the files holds, where that is not what the paper counts."""

    def published(self, split: Split) -> int:
        """The size of a split in the paper."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[split]


_MTL = "github.com/cambridgeltl/MTL-Bioinformatics-2016, data/{} (train.tsv, devel.tsv, test.tsv: word, tab, IOB tag)"
_RELEASE = "of the BLURB preprocessing (microsoft.github.io/BLURB)"

_NER = partial(Entry, task="ner", metric="entity_f1", group="NER", unit="mentions")
_RELATION = partial(Entry, task="relation", metric="micro_f1", group="Relation extraction")
_QUESTIONS = partial(Entry, task="pairs", metric="accuracy", group="Question answering", unit="questions", seeds=10)

_ENTRIES = (
    _NER(
        name="bc5-chem",
        title="BC5-chem",
        folder="BC5-chem",
        labels=("Chemical",),
        train=5_203,
        dev=5_347,
        test=5_385,
        source=_MTL.format("BC5CDR-chem-IOB"),
    ),
    _NER(
        name="bc5-disease",
        title="BC5-disease",
        folder="BC5-disease",
        labels=("Disease",),
        train=4_182,
        dev=4_244,
        test=4_424,
        source=_MTL.format("BC5CDR-disease-IOB"),
        deviations=("dev holds 4,246 mentions where the paper counts 4,244.",),
        dev_here=4_246,
    ),
    _NER(
        name="ncbi-disease",
        title="NCBI-disease",
        folder="NCBI-disease",
        labels=("Disease",),
        train=5_134,
        dev=787,
        test=960,
        source=_MTL.format("NCBI-disease-IOB"),
    ),
    _NER(
        name="bc2gm",
        title="BC2GM",
        folder="BC2GM",
        labels=("GENE",),
        train=15_197,
        dev=3_061,
        test=6_325,
        source=_MTL.format("BC2GM-IOB"),
    ),
    _NER(
        name="jnlpba",
        title="JNLPBA",
        folder="JNLPBA",
        labels=("",),
        train=46_750,
        dev=4_551,
        test=8_662,
        source=f"the files {_RELEASE}: train.tsv, dev.tsv, test.tsv with the tags B, I and O, the five types made one",
    ),
    Entry(
        name="ebm-pico",
        title="EBM PICO",
        task="words",
        metric="word_macro_f1",
        group="PICO",
        folder="EBM-PICO",
        labels=("I-PAR", "I-INT", "I-OUT"),
        train=339_167,
        dev=85_321,
        test=16_364,
        unit="labelled words",
        source=f"the EBM-NLP corpus (github.com/bepnye/EBM-NLP, ebm_nlp_2_00.tar.gz) through the scripts {_RELEASE}, "
        "as word, tab, I-PAR, I-INT, I-OUT or O",
        deviations=("dev holds 87,308 labelled words where the paper counts 85,321.",),
        dev_here=87_308,
    ),
    _RELATION(
        name="chemprot",
        title="ChemProt",
        folder="ChemProt",
        labels=chemprot.LABELS,
        negative=chemprot.NEGATIVE,
        train=18_035,
        dev=11_268,
        test=15_745,
        unit="pairs",
        source="BioCreative VI, track 5 (ChemProt_Corpus.zip, its three zips unpacked)",
        deviations=("Sentences are split by rules that stand in for NLTK's Punkt model; dev equals BLURB's file.",),
    ),
    _RELATION(
        name="ddi",
        title="DDI",
        folder="DDI",
        labels=ddi.LABELS,
        negative=ddi.NEGATIVE,
        train=25_296,
        dev=2_496,
        test=5_716,
        unit="pairs",
        source="github.com/isegura/DDICorpus (DDICorpus-2013.zip), and blurb_dev_documents.txt, the ids of the "
        f"documents in the dev set {_RELEASE}, one a line",
        deviations=(
            "21 dev pairs, of two sentences, differ from BLURB's file, where the offsets of those sentences slipped.",
            "One training pair is said to interact without a type; it counts as false.",
        ),
    ),
    _RELATION(
        name="gad",
        title="GAD",
        folder="GAD",
        labels=tables.GAD_LABELS,
        negative=tables.GAD_NEGATIVE,
        train=4_261,
        dev=535,
        test=534,
        unit="sentences",
        source=f"the files {_RELEASE}: train.tsv, dev.tsv, test.tsv with the header index, sentence, label",
    ),
    Entry(
        name="biosses",
        title="BIOSSES",
        task="similarity",
        metric="pearson",
        group="Sentence similarity",
        folder="BIOSSES",
        labels=(),
        train=64,
        dev=16,
        test=20,
        unit="pairs",
        seeds=10,
        source=f"the files {_RELEASE}: train.tsv, dev.tsv, test.tsv with the header pair_id, sent1, sent2, score",
    ),
    Entry(
        name="hoc",
        title="HoC",
        task="multilabel",
        metric="multilabel_f1",
        group="Document classification",
        folder="HoC",
        labels=HALLMARKS,
        train=1_295,
        dev=186,
        test=371,
        unit="abstracts",
        source=f"the files {_RELEASE}: train.tsv, dev.tsv, test.tsv with the header labels, sentence, index",
    ),
    _QUESTIONS(
        name="pubmedqa",
        title="PubMedQA",
        folder="PubMedQA",
        labels=questions.PUBMEDQA_LABELS,
        train=450,
        dev=50,
        test=500,
        source="github.com/pubmedqa/pubmedqa (data/ori_pqal.json, split by split_dataset.py: test_set.json and "
        "pqal_fold0/)",
    ),
    _QUESTIONS(
        name="bioasq",
        title="BioASQ",
        folder="BioASQ",
        labels=ANSWERS,
        train=670,
        dev=75,
        test=140,
        source=f"BioASQ task 7b (participants-area.bioasq.org) through the scripts {_RELEASE}: train.tsv, dev.tsv, "
        "test.tsv of id, question, snippets and answer",
    ),
)
ENTRIES: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
NAMES: tuple[str, ...] = tuple(ENTRIES)
"""In the order of the paper."""
WITH_OFFSETS = ("chemprot", "ddi")
"""Relations whose files say where the related names are, so that they can be shown in every style."""
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


def entry(name: str) -> Entry:
    """The data set of that name.

    Raises:
        InputError: there is none.
    """
    if name not in ENTRIES:
        raise InputError(f"there is no BLURB data set {name!r}: it must be one of {', '.join(NAMES)}")
    return ENTRIES[name]


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
