"""Hallmarks of Cancer, questions and tables: small files, bad files, and the originals beside BLURB's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pubmedbert.blurb.readers.hoc import read_hoc
from pubmedbert.blurb.readers.questions import read_bioasq, read_pubmedqa
from pubmedbert.blurb.readers.tables import read_biosses, read_gad
from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import SPLITS, Labelled
from pubmedbert.finetune.formats.bioasq import read_bioasq_golden
from pubmedbert.finetune.formats.hoc import HALLMARKS, read_hoc_originals


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def bits(*held: int) -> str:
    return ",".join(f"{number}_{int(number in held)}" for number in range(10))


def test_hoc(tmp_path: Path) -> None:
    text = f"labels\tsentence\tindex\n{bits(9)}\tOne .\t7_s0\n{bits()}\tNone .\t8_s0\n{bits(0, 9)}\tTwo .\t7_s1\n"
    assert read_hoc(write(tmp_path / "dev.tsv", text)) == [
        Labelled("7", "One . Two .", (HALLMARKS[0], HALLMARKS[9])),
        Labelled("8", "None .", ()),
    ]


@pytest.mark.parametrize("row", [f"{bits()[:-4]}\tText\t1_s0", f"{bits()}\tText\t1", f"{bits()}\t\t1_s0", "a\tb"])
def test_bad_hoc(tmp_path: Path, row: str) -> None:
    with pytest.raises(InputError, match=r"dev\.tsv, line 2: "):
        read_hoc(write(tmp_path / "dev.tsv", f"labels\tsentence\tindex\n{row}\n"))


def question(answer: str = "yes") -> dict[str, object]:
    return {"QUESTION": "Does it?", "CONTEXTS": ["It may.", "It does."], "LONG_ANSWER": "!", "final_decision": answer}


def test_pubmedqa(tmp_path: Path) -> None:
    questions = {str(n): question(answer) for n, answer in enumerate(("yes", "no", "maybe", "yes"))}
    write(tmp_path / "ori_pqal.json", json.dumps(questions))
    write(tmp_path / "splits.json", json.dumps({"test": ["3"], "folds": [["2"], ["0"], ["1"]]}))
    assert [[example.id for example in read_pubmedqa(tmp_path, split)] for split in SPLITS] == [
        ["0", "1"],
        ["2"],
        ["3"],
    ]
    assert read_pubmedqa(tmp_path, "dev") == [Labelled("2", "Does it?", "maybe", "It may. It does.")]
    write(tmp_path / "splits.json", json.dumps({"test": ["9"], "folds": [["2"]]}))
    with pytest.raises(InputError, match="9: there is no such question"):
        read_pubmedqa(tmp_path, "test")
    write(tmp_path / "splits.json", json.dumps({"test": ["9"]}))
    with pytest.raises(InputError, match=r'splits\.json must hold "test"'):
        read_pubmedqa(tmp_path, "test")


def test_pubmedqa_by_its_script(tmp_path: Path) -> None:
    for name in ("test_set", "pqal_fold0/train_set", "pqal_fold0/dev_set"):
        write(tmp_path / f"{name}.json", json.dumps({name: question()}))
    found = [read_pubmedqa(tmp_path, split)[0].id for split in SPLITS]
    assert found == ["pqal_fold0/train_set", "pqal_fold0/dev_set", "test_set"]


@pytest.mark.parametrize(
    "change", [{"final_decision": "no idea"}, {"QUESTION": ""}, {"CONTEXTS": "It"}, {"CONTEXTS": []}]
)
def test_bad_pubmedqa(tmp_path: Path, change: dict[str, object]) -> None:
    write(tmp_path / "test_set.json", json.dumps({"5": question() | change}))
    with pytest.raises(InputError, match=r"test_set\.json, 5: "):
        read_pubmedqa(tmp_path, "test")


def test_bioasq(tmp_path: Path) -> None:
    path = write(tmp_path / "dev.tsv", 'a1\tIs "it"?\tIt is. \tyes\na2\tIs it?\tNo.\tno\n')
    assert read_bioasq(path)[0] == Labelled("a1", 'Is "it"?', "yes", "It is.")


def test_tables(tmp_path: Path) -> None:
    gad = write(tmp_path / "gad.tsv", "index\tsentence\tlabel\n0\t@GENE$ @DISEASE$\t1\n")
    assert read_gad(gad) == [Labelled("0", "@GENE$ @DISEASE$", "1")]
    biosses = write(tmp_path / "biosses.tsv", "pair_id\tsent1\tsent2\tscore\n3\ta\tb\t2.4\n")
    assert read_biosses(biosses) == [Labelled("3", "a", 2.4, "b")]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("0\ta\t2\n", "the label must be 0 or 1"),
        ("0\ta\n", "3 columns"),
        ("0\ta\t1\n0\tb\t1\n", "'0' occurs more than"),
    ],
)
def test_bad_gad(tmp_path: Path, rows: str, sentence: str) -> None:
    with pytest.raises(InputError, match=r"gad\.tsv") as caught:
        read_gad(write(tmp_path / "gad.tsv", f"index\tsentence\tlabel\n{rows}"))
    assert sentence in str(caught.value)


@pytest.mark.parametrize("score", ["4.5", "high", ""])
def test_bad_biosses(tmp_path: Path, score: str) -> None:
    with pytest.raises(InputError, match=r"b\.tsv, line 2: "):
        read_biosses(write(tmp_path / "b.tsv", f"pair_id\tsent1\tsent2\tscore\n3\ta\tb\t{score}\n"))


def test_hoc_agrees_with_its_originals(real_data: Path) -> None:
    folder = real_data / "blurb" / "HoC"
    files = [example for split in SPLITS for example in read_hoc(folder / f"{split}.tsv")]
    originals = read_hoc_originals(folder / "original" / "Hallmarks-of-Cancer.tar.gz")
    assert len(originals) == 1_852
    assert sorted(files, key=lambda example: example.id) == originals


def test_bioasq_agrees_with_its_originals(real_data: Path) -> None:
    folder = real_data / "blurb" / "BioASQ"
    golden = {n: read_bioasq_golden(folder / "original" / f"{n}B_golden.json") for n in (4, 5, 6, 7)}
    assert {n: len(examples) for n, examples in golden.items()} == {4: 133, 5: 130, 6: 130, 7: 140}
    by_id = {example.id: example for example in golden[7]}
    assert all(by_id[example.id] == example for example in read_bioasq(folder / "test.tsv"))


def test_biosses_agrees_with_its_originals(real_data: Path) -> None:
    folder = real_data / "blurb" / "BIOSSES"
    lines = (folder / "original" / "annotation_pairs_scores.tsv").read_text().splitlines()[1:]
    means = {int(line.split("\t")[0]): sum(map(float, line.split("\t")[3:])) / 5 for line in lines}
    found = {example.id: example.label for split in SPLITS for example in read_biosses(folder / f"{split}.tsv")}
    assert len(found) == 100
    assert sorted(found.values(), key=str) == pytest.approx(
        sorted(means.values(), key=lambda mean: str(round(mean, 1)))
    )


def test_pubmedqa_answers(real_data: Path) -> None:
    folder = real_data / "blurb" / "PubMedQA"
    truth = json.loads((folder / "test_ground_truth.json").read_text())
    assert {example.id: example.label for example in read_pubmedqa(folder, "test")} == truth
