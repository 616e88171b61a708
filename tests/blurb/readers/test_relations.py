"""ChemProt and DDI: candidate pairs from the original releases."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.blurb.readers.chemprot import read_chemprot
from pubmedbert.blurb.readers.ddi import read_ddi
from pubmedbert.blurb.readers.relation import STYLES, Span, check_style, show
from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Labelled, Split

TITLE = "Aspirin inhibits COX-1."
ABSTRACT = "Aspirin binds COX-2 oxidase. The COX-1 gene."


def chemprot(folder: Path, **files: str) -> Path:
    """A training set of one abstract; keywords replace or add rows."""
    text = f"{TITLE}\t{ABSTRACT}"
    mentions = [("T1", "CHEMICAL", "Aspirin", 0), ("T2", "GENE-Y", "COX-1", 17), ("T3", "CHEMICAL", "Aspirin", 24)]
    mentions += [
        ("T4", "GENE-N", "COX-2 oxidase", 38),
        ("T5", "CHEMICAL", "oxidase", 44),
        ("T6", "GENE-Y", "COX-1", 57),
    ]
    rows = [f"1\t{key}\t{kind}\t{start}\t{start + len(name)}\t{name}\n" for key, kind, name, start in mentions]
    assert all(text[start : start + len(name)] == name for _, _, name, start in mentions)
    made = {
        "abstracts": f"1\t{text}\n2\tNothing.\t\n",
        "entities": "".join(rows),
        "relations": "1\tCPR:4\tY \tINHIBITOR\tArg1:T1\tArg2:T2\n1\tCPR:10\tN \tNOT\tArg1:T5\tArg2:T4\n",
    } | files
    part = folder / "chemprot_training"
    part.mkdir(exist_ok=True)
    for kind, rows_of in made.items():
        (part / f"chemprot_training_{kind}.tsv").write_text(rows_of)
    return folder


def test_chemprot(tmp_path: Path) -> None:
    assert read_chemprot(chemprot(tmp_path), "train", "dummies") == [
        Labelled("1.T1.T2", "@CHEMICAL$ inhibits @GENE$.", "CPR:4", document="1"),
        Labelled("1.T3.T4", "@CHEMICAL$ binds @GENE$.", "false", document="1"),
        Labelled("1.T4.T5", "Aspirin binds @CHEM-GENE$.", "false", document="1"),
    ]
    assert [example.text for example in read_chemprot(tmp_path, "train", "markers")] == [
        "[E1] Aspirin [/E1] inhibits [E2] COX-1 [/E2].",
        "[E1] Aspirin [/E1] binds [E2] COX-2 oxidase [/E2].",
        "Aspirin binds [E1] COX-2 [E2] oxidase [/E2] [/E1].",
    ]
    assert read_chemprot(tmp_path, "train", "original")[0].text == TITLE


def test_either_order_of_arguments(tmp_path: Path) -> None:
    chemprot(tmp_path, relations="1\tCPR:4\tY \tINHIBITOR\tArg1:T2\tArg2:T1\n")
    assert read_chemprot(tmp_path, "train", "dummies")[0].label == "CPR:4"


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        ("entities", "1\tT1\tDRUG\t0\t3\tAsp\n", "line 1: the type must be CHEMICAL, GENE-Y or GENE-N, not 'DRUG'"),
        ("entities", "1\tT1\tCHEMICAL\t-1\t3\tAsp\n", "line 1: the start of an entity must be a number"),
        ("entities", "1\tT1\tCHEMICAL\t3\t3\tAsp\n", "line 1: an entity must end after its start"),
        ("entities", "1\tT1\tCHEMICAL\t3\n", "line 1: 6 columns are wanted"),
        ("relations", "1\tCPR:4\tY\tX\tT1\tT2\n", "line 1: the arguments must have the form Arg1:T1"),
        ("abstracts", "1\tTitle only\n", "line 1: 3 columns are wanted"),
    ],
)
def test_bad_chemprot(tmp_path: Path, kind: str, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=f"chemprot_training_{kind}") as caught:
        read_chemprot(chemprot(tmp_path, **{kind: text}), "train", "dummies")
    assert sentence in str(caught.value)


def test_names_of_the_test_files(tmp_path: Path) -> None:
    chemprot(tmp_path)
    with pytest.raises(InputError, match=r"there is no file .*chemprot_test_gs_entities\.tsv"):
        read_chemprot(tmp_path, "test", "dummies")
    part = (tmp_path / "chemprot_training").rename(tmp_path / "chemprot_test_gs")
    for path in list(part.iterdir()):
        path.rename(part / f"{path.stem.replace('training', 'test')}_gs.tsv")
    assert len(read_chemprot(tmp_path, "test", "dummies")) == 3


@given(st.text("abc ", min_size=4, max_size=12), st.data())
def test_styles_keep_the_text(text: str, data: st.DataObject) -> None:
    places = st.integers(0, len(text) - 1)
    spans = []
    for kind in ("GENE", "CHEMICAL"):
        start = data.draw(places)
        spans.append(Span(start, data.draw(st.integers(start + 1, len(text))), kind))
    first, second = sorted(spans, key=lambda span: span.start)
    assert show(text, first, second, "original", "X-Y") == text
    marked = show(text, first, second, "markers", "X-Y")
    for mark in ("[E1] ", " [/E1]", "[E2] ", " [/E2]"):
        assert marked.count(mark) == 1
        marked = marked.replace(mark, "")
    assert marked == text
    dummies = show(text, first, second, "dummies", "X-Y")
    assert (dummies.count("@X-Y$") == 1) == (first.end > second.start)


def test_check_style() -> None:
    assert [check_style(style) for style in STYLES] == list(STYLES)
    with pytest.raises(InputError, match="must be one of dummies, markers, original, not 'bold'"):
        check_style("bold")


DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<document id="{id}"><sentence id="{id}.s0" text="Oral aspirin&#10;with heparin or beta blockers and agonists.">
<entity id="e0" charOffset="5-11" type="drug" text="aspirin"/>
<entity id="e1" charOffset="18-24" type="drug" text="heparin"/>
<entity id="e2" charOffset="29-41" type="group" text="beta blockers"/>
<entity id="e3" charOffset="29-32;47-54" type="group" text="beta agonists"/>
<pair id="{id}.s0.p0" e1="e0" e2="e1" ddi="true" type="int"/>
<pair id="{id}.s0.p1" e1="e3" e2="e0" ddi="false"/>
<pair id="{id}.s0.p2" e1="e2" e2="e3" ddi="true"/>
</sentence></document>
"""


def ddi(folder: Path, dev: str = "d1\n", **documents: str) -> Path:
    folders = {
        "x": "Train/MedLine",
        "t": "Test/Test for DDI Extraction task/DrugBank",
        "n": "Test/Test for DrugNER task",
    }
    with zipfile.ZipFile(folder / "DDICorpus-2013.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("DDICorpus/.DS_Store", b"\0")
        for name, text in documents.items():
            archive.writestr(f"DDICorpus/{folders[name[0]]}/{name}.xml", text)
    (folder / "blurb_dev_documents.txt").write_text(dev)
    return folder


def test_ddi(tmp_path: Path) -> None:
    documents = {f"{place}{n}": DOCUMENT.format(id=f"d{n}") for n, place in enumerate("xxtn")}
    ddi(tmp_path, **documents)
    read: dict[Split, list[Labelled]] = {
        split: read_ddi(tmp_path, split, "dummies") for split in ("train", "dev", "test")
    }
    assert [examples[0].id for examples in read.values()] == [
        "d0.s0.p0",
        "d1.s0.p0",
        "d2.s0.p0",
    ]
    assert read["train"] == [
        Labelled("d0.s0.p0", "Oral @DRUG$ with @DRUG$ or beta blockers and agonists.", "DDI-int", document="d0"),
        Labelled("d0.s0.p1", "Oral @DRUG$ with heparin or @DRUG$.", "DDI-false", document="d0"),
        Labelled("d0.s0.p2", "Oral aspirin with heparin or @DRUG-DRUG$.", "DDI-false", document="d0"),
    ]
    marked = read_ddi(tmp_path, "train", "markers")[2].text
    assert marked == "Oral aspirin with heparin or [E1] [E2] beta blockers [/E1] and agonists [/E2]."


BOMB = '<!DOCTYPE document [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f'{BOMB}<document id="d0"><sentence text="&c;"/></document>', "refused for safety"),
        ('<!DOCTYPE document SYSTEM "http://localhost/x.dtd"><document id="d0"/>', "refused for safety"),
        ("<document", "is not XML"),
        ("", "is not XML"),
        ('<document id="d9"/>', "holds no pair of the train set"),
        (DOCUMENT.format(id="d0").replace("5-11", "5"), "must have the form \"0-5;12-15\", not '5'"),
        (DOCUMENT.format(id="d0").replace("5-11", "5-99"), "is not inside its sentence of 56 characters"),
        (DOCUMENT.format(id="d0").replace('e2="e1"', 'e2="e9"'), "two entities of its sentence"),
        (DOCUMENT.format(id="d0").replace('"int"', '"fatal"'), "must be advise, effect, int or mechanism, not 'fatal'"),
        (DOCUMENT.format(id="d0").replace('"true"', '"maybe"'), "ddi must be true or false, not 'maybe'"),
    ],
)
def test_bad_documents(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match="DDICorpus-2013") as caught:
        read_ddi(ddi(tmp_path, x0=text), "train", "dummies")
    assert sentence in str(caught.value)


def test_bad_archives(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks the document d7"):
        read_ddi(ddi(tmp_path, dev="d0\nd7\n", x0=DOCUMENT.format(id="d0")), "dev", "dummies")
    archive = tmp_path / "DDICorpus-2013.zip"
    whole = archive.read_bytes()
    for data in (whole[: len(whole) // 2], b"garbage", b""):
        archive.write_bytes(data)
        with pytest.raises(InputError, match="damaged or truncated"):
            read_ddi(tmp_path, "train", "dummies")
    flipped = bytearray(whole)
    flipped[whole.index(b"x0.xml") + 40] ^= 0xFF
    archive.write_bytes(flipped)
    with pytest.raises(InputError, match="damaged or truncated"):
        read_ddi(tmp_path, "train", "dummies")
    archive.unlink()
    with pytest.raises(InputError, match="No such file"):
        read_ddi(tmp_path, "train", "dummies")


def test_zip_bomb(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too large: this is not the release"):
        read_ddi(ddi(tmp_path, x0=" " * (9 << 20)), "train", "dummies")


def rows(path: Path) -> Counter[tuple[str, ...]]:
    return Counter(tuple(line.split("\t")) for line in path.read_text().split("\n") if line)


def shown(examples: list[Labelled]) -> Counter[tuple[str, ...]]:
    return Counter((example.id, example.text, str(example.label)) for example in examples)


def test_chemprot_as_blurb(real_data: Path) -> None:
    folder = real_data / "blurb" / "ChemProt"
    assert shown(read_chemprot(folder, "dev", "dummies")) == rows(folder / "blurb_format" / "dev.tsv")


@pytest.mark.parametrize(("split", "equal", "size"), [("dev", 2_475, 2_496), ("test", 5_716, 5_716)])
def test_ddi_as_blurb(real_data: Path, split: Split, equal: int, size: int) -> None:
    """In dev the sentences d68.s0 and d134.s0 differ: BLURB's copy has ";" for a space, and offsets that slipped."""
    folder = real_data / "blurb" / "DDI"
    ours, theirs = shown(read_ddi(folder, split, "dummies")), rows(folder / "blurb_format" / f"{split}.tsv")
    assert (ours.total(), theirs.total(), (ours & theirs).total()) == (size, size, equal)
    assert {row[0].rpartition(".")[0] for row in theirs - ours} <= {"DDI-MedLine.d68.s0", "DDI-MedLine.d134.s0"}
    assert sorted((row[0], row[2]) for row in ours) == sorted((row[0], row[2]) for row in theirs)
