"""Comparing tokenizers: the terms of Table 1, and counts on a text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pubmedbert.cli import main
from pubmedbert.errors import InputError
from pubmedbert.vocab import compare as module
from pubmedbert.vocab.compare import TERMS, compare, cut, fit
from pubmedbert.vocab.folder import SPECIALS, build, load, save
from tests.vocab.fakes import general_tokenizer

# Gu et al. 2020, Table 1, the column of BERT.
TABLE_1 = {
    "diabetes": "diabetes",
    "hypertension": "hyper-tension",
    "nephropathy": "ne-ph-rop-athy",
    "lymphoma": "l-ym-ph-oma",
    "lidocaine": "lid-oca-ine",
    "oropharyngeal": "oro-pha-ryn-ge-al",
    "cardiomyocyte": "card-iom-yo-cy-te",
    "chloramphenicol": "ch-lor-amp-hen-ico-l",
    "RecA": "rec-a",
    "acetyltransferase": "ace-ty-lt-ran-sf-eras-e",
    "clonidine": "cl-oni-dine",
    "naloxone": "na-lo-xon-e",
}


def test_the_general_vocabulary_cuts_terms_as_the_paper_shows() -> None:
    tokenizer = load(general_tokenizer())
    assert {term: "-".join(cut(tokenizer, term)) for term in TABLE_1} == TABLE_1
    assert len(TERMS) == len(set(TERMS)) == 17


def test_the_measures_by_hand() -> None:
    tokenizer = build([*SPECIALS, "gene", "kin", "##ase", "a", ".", ","])
    measured = fit(tokenizer, iter(["Gene kinase, [MASK].", "kinase x . a"]))
    # words: gene kin-ase [UNK]=mask | kin-ase [UNK]=x a; "[" and "]" are unknown marks, and so [UNK] too
    assert measured.documents == 2
    assert measured.words == 8
    assert measured.pieces_per_word == 10 / 8
    assert measured.whole == 2 / 8
    assert measured.unknown == 4 / 13
    assert measured.pieces_per_document == 13 / 2


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    save(build([*SPECIALS, "naloxone", "is", "an", "antagonist", "."]), folder)
    return folder


def test_the_command(tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Naloxone is an antagonist.\n\nNaloxone.\n")
    general = str(general_tokenizer())
    main(["vocab", "compare", str(own), general, "--text", str(text), "--json"])
    first, second = json.loads(capsys.readouterr().out)
    assert first["tokenizer"] == str(own)
    assert first["terms"]["naloxone"] == ["naloxone"]
    assert first["text"]["pieces_per_word"] == first["text"]["whole"] == 1
    assert second["terms"]["naloxone"] == ["na", "lo", "xon", "e"]
    assert second["text"]["documents"] == 2
    assert second["text"]["words"] == 5
    main(["vocab", "compare", str(own), general, "--text", str(text)])
    table = capsys.readouterr().out
    assert "na-lo-xon-e" in table
    assert "words kept whole" in table


def test_an_unknown_term_is_not_whole(tmp_path: Path, own: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("naloxone")
    (comparison,) = compare([own], text)
    assert [term for term in TERMS if comparison.whole(term)] == ["naloxone"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "cannot read"), (b"\xff\xfe\x00", "is not UTF-8"), (b" \n\n", "no word"), (b". , ;\n", None)],
)
def test_a_bad_text_is_told_in_a_sentence(
    tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, sentence: str | None
) -> None:
    text = tmp_path / "text.txt"
    if content is not None:
        text.write_bytes(content)
    if sentence is None:
        compare([own], text)
        return
    with pytest.raises(SystemExit, match="2"):
        main(["vocab", "compare", str(own), "--text", str(text)])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{text}" in error
    assert sentence in error


def test_an_endless_line_is_refused_before_it_fills_the_memory(
    tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST", 20)
    text = tmp_path / "text.txt"
    text.write_text(f"\n{'n' * 19}\n{'n' * 20}")
    assert compare([own], text)[0].text.documents == 2
    text.write_text(f"\n{'n' * 21}\n")
    with pytest.raises(InputError, match=r"text\.txt: line 2 is longer than 20 characters"):
        compare([own], text)


def test_batches_are_bounded_by_lines_and_by_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    monkeypatch.setattr(module, "CHARACTERS", 10)
    documents = ["aaaaa", "bbbbb", "c" * 30, "d", "e", "f", "g"]
    assert list(module._batches(documents)) == [documents[:2], documents[2:3], documents[3:6], documents[6:]]


def test_no_tokenizer_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one"):
        compare([], tmp_path / "text.txt")
