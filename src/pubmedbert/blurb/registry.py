"""The registry: the 13 data sets of BLURB, what was published of them, and how their files here differ from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from pubmedbert.blurb.readers import chemprot, ddi, questions, tables
from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Split, Task
from pubmedbert.finetune.formats.bioasq import ANSWERS
from pubmedbert.finetune.formats.hoc import HALLMARKS

Group = Literal[
    "named entities", "PICO", "relations", "sentence similarity", "document classification", "question answering"
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

_NER = partial(Entry, task="ner", metric="entity_f1", group="named entities", unit="mentions")
_RELATION = partial(Entry, task="relation", metric="micro_f1", group="relations")
_QUESTIONS = partial(Entry, task="pairs", metric="accuracy", group="question answering", unit="questions", seeds=10)

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
        group="sentence similarity",
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
        group="document classification",
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
GROUPS: dict[str, tuple[str, ...]] = {
    group: tuple(entry.name for entry in _ENTRIES if entry.group == group) for group in get_args(Group)
}
"""Task types and their data sets, in the order of the paper."""
WITH_OFFSETS = ("chemprot", "ddi")
"""Relations whose files say where the related names are, so that they can be shown in every style."""


def title(name: str) -> str:
    """A data set as papers write it; one of the user's own as it is called."""
    return ENTRIES[name].title if name in ENTRIES else name


def entry(name: str) -> Entry:
    """The data set of that name.

    Raises:
        InputError: there is none.
    """
    if name not in ENTRIES:
        raise InputError(f"there is no BLURB data set {name!r}: it must be one of {', '.join(NAMES)}")
    return ENTRIES[name]
