"""The registry, and every count of the real files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pubmedbert.blurb.datasets import available, counts, open_dataset
from pubmedbert.blurb.registry import ENTRIES, GROUPS, NAMES, entry
from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import SPLITS, Dataset, Labelled, Split, Tagged
from pubmedbert.finetune.formats.columns import read_conll
from pubmedbert.finetune.metrics import METRICS

DEV_DEVIATES = {"bc5-disease": 4_246, "ebm-pico": 87_308}


def classes(data: Dataset, split: Split) -> Counter[object]:
    return Counter(example.label for example in data.read(split) if isinstance(example, Labelled))


def test_registry() -> None:
    assert len(NAMES) == 13
    assert [len(names) for names in GROUPS.values()] == [5, 1, 3, 1, 1, 2]
    assert [name for names in GROUPS.values() for name in names] == list(NAMES)
    assert {name for name in NAMES if entry(name).seeds == 10} == {"biosses", "pubmedqa", "bioasq"}
    for found in ENTRIES.values():
        assert found.metric in METRICS
        assert found.negative is None or found.negative in found.labels
        assert [found.published(split) for split in SPLITS] == [found.train, found.dev, found.test]
    with pytest.raises(InputError, match="no BLURB data set 'cola': it must be one of bc5-chem, bc5-disease"):
        entry("cola")


@pytest.mark.parametrize("name", NAMES)
def test_missing_files(tmp_path: Path, name: str) -> None:
    sentence = available(name, tmp_path)
    assert f"{tmp_path / entry(name).folder}" in sentence
    assert ": to put there, fetch " in sentence
    with pytest.raises(InputError) as caught:
        open_dataset(name, tmp_path)
    assert str(caught.value) == sentence


def ner(folder: Path, **files: str) -> Path:
    (folder / "NCBI-disease").mkdir(parents=True)
    for name, text in files.items():
        (folder / "NCBI-disease" / f"{name}.tsv").write_text(text)
    return folder


@pytest.mark.parametrize("dev", ["dev", "devel"])
@pytest.mark.parametrize("inside", ["", "blurb"])
def test_opening_reads_nothing(tmp_path: Path, dev: str, inside: str) -> None:
    ner(tmp_path / inside, train="a\tB-Disease\nb\tB-Disease\n", test="no tags", **{dev: "c\tO\n"})
    data = open_dataset("ncbi-disease", tmp_path)
    assert (data.task, data.metric, data.labels, data.negative) == ("ner", "entity_f1", ("Disease",), None)
    assert counts(data.read("train"), entry("ncbi-disease")) == 2
    assert data.read("dev") == [Tagged("1", ("c",), ("O",))]
    with pytest.raises(InputError, match=r"test\.tsv, line 1"):
        data.read("test")


def test_foreign_types(tmp_path: Path) -> None:
    ner(tmp_path, train="a\tB-Gene\n", dev="c\tO\n", test="c\tO\n")
    with pytest.raises(InputError, match=r"train\.tsv: the type 'Gene' is not one of NCBI-disease: Disease"):
        open_dataset("ncbi-disease", tmp_path).read("train")


def test_styles(tmp_path: Path) -> None:
    (tmp_path / "GAD").mkdir()
    for split in SPLITS:
        (tmp_path / "GAD" / f"{split}.tsv").write_text("index\tsentence\tlabel\n0\t@GENE$\t1\n")
    assert open_dataset("gad", tmp_path).read("dev") == [Labelled("0", "@GENE$", "1")]
    with pytest.raises(InputError, match="GAD comes with dummies only"):
        open_dataset("gad", tmp_path, style="markers")
    with pytest.raises(InputError, match="must be one of dummies, markers, original"):
        open_dataset("gad", tmp_path, style="bold")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ebm-pico"])
def test_real_counts(real_data: Path, name: str) -> None:
    found, data = entry(name), open_dataset(name, real_data)
    for split in SPLITS:
        examples = data.read(split)
        wanted = DEV_DEVIATES.get(name, found.dev) if split == "dev" else found.published(split)
        assert counts(examples, found) == wanted
        assert data.remark(split, examples) == ""
        assert data.remark(split, examples[:1]).startswith(f"{split} holds ")
        assert len({example.id for example in examples}) == len(examples)
        if found.task in ("relation", "classification", "pairs"):
            assert {example.label for example in examples if isinstance(example, Labelled)} <= set(data.labels)


@pytest.mark.parametrize(("split", "words", "documents"), [("dev", 87_308, 960), ("test", 16_364, 191)])
def test_real_pico(real_data: Path, split: Split, words: int, documents: int) -> None:
    assert "EBM-PICO/train.tsv: to put there, fetch the EBM-NLP corpus" in available("ebm-pico", real_data)
    examples = read_conll(real_data / "blurb" / "EBM-PICO" / f"{split}.tsv", spans=False)
    assert counts(examples, entry("ebm-pico")) == words
    assert len({example.document for example in examples}) == documents
    tags = {tag for example in examples for tag in example.tags or ()}
    assert tags == {"O", *entry("ebm-pico").labels}


def test_real_classes(real_data: Path) -> None:
    assert classes(open_dataset("ddi", real_data), "test") == {
        "DDI-false": 4_737,
        "DDI-effect": 360,
        "DDI-mechanism": 302,
        "DDI-advise": 221,
        "DDI-int": 96,
    }
    train = classes(open_dataset("ddi", real_data), "train")
    assert train == {
        "DDI-false": 21_745,
        "DDI-effect": 1_486,
        "DDI-mechanism": 1_163,
        "DDI-advise": 725,
        "DDI-int": 177,
    }
    chemprot = open_dataset("chemprot", real_data)
    assert [classes(chemprot, "dev")[label] for label in chemprot.labels] == [546, 1_091, 115, 199, 457, 8_860]
    bioasq = open_dataset("bioasq", real_data)
    assert [tuple(classes(bioasq, split).values()) for split in SPLITS] == [(552, 118), (62, 13), (94, 46)]


def test_real_types_of_jnlpba(real_data: Path) -> None:
    sentences = read_conll(real_data / "blurb" / "JNLPBA" / "typed" / "test.tsv")
    tags = Counter(tag[2:] for sentence in sentences for tag in sentence.tags or () if tag[0] == "B")
    assert tags == {"protein": 5_067, "cell_type": 1_921, "DNA": 1_056, "cell_line": 500, "RNA": 118}
