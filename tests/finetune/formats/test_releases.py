"""The Hallmarks of Cancer and BioASQ's golden files in small, and damaged."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from pubmedbert.errors import InputError
from pubmedbert.finetune.dataset import Labelled
from pubmedbert.finetune.formats.bioasq import read_bioasq_golden
from pubmedbert.finetune.formats.hoc import HALLMARKS, read_hoc_originals
from pubmedbert.finetune.own_data import open_own


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def tar(path: Path, **files: str | bytes) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            data = text.encode() if isinstance(text, str) else text
            member = tarfile.TarInfo(f"HoC/{name.replace('_', '/')}.txt")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_hoc_originals(tmp_path: Path) -> None:
    cells = f"< <{HALLMARKS[7]}--Apoptosis AND{HALLMARKS[8]}-- < NULL"
    path = tar(tmp_path / "hoc.tar.gz", text_7="One .\nTwo .\nThree .\n", labels_7=cells)
    assert read_hoc_originals(path) == [Labelled("7", "One . Two . Three .", HALLMARKS[7:9])]
    write(tmp_path / "hoc.toml", 'task = "multilabel"\nformat = "hoc"\ntrain = "hoc.tar.gz"\ndev = "hoc.tar.gz"\n')
    assert open_own(tmp_path / "hoc.toml").labels == HALLMARKS[7:9]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"text_7": "One ."}, "must hold text/PMID.txt and labels/PMID.txt"),
        ({}, "must hold text/PMID.txt and labels/PMID.txt"),
        ({"text_7": "One .\nTwo .", "labels_7": "<"}, "7 has 2 sentences and labels of 1"),
        ({"text_7": "One .", "labels_7": "<Immortality"}, "7: 'Immortality' is none of the ten hallmarks"),
        ({"text_7": b"\xff", "labels_7": "<"}, "HoC/text/7.txt: byte 1 is not UTF-8"),
        ({"text_7": " " * (9 << 20)}, "too large"),
    ],
)
def test_bad_originals(tmp_path: Path, files: dict[str, str | bytes], sentence: str) -> None:
    with pytest.raises(InputError, match="hoc") as caught:
        read_hoc_originals(tar(tmp_path / "hoc.tar.gz", **files))
    assert sentence in str(caught.value)


def test_damaged_tar(tmp_path: Path) -> None:
    whole = tar(tmp_path / "hoc.tar.gz", text_7="One .\n" * 5_000, labels_7="<" * 5_000).read_bytes()
    plain = gzip.decompress(whole)
    for data in (whole[:-40], b"\x1f\x8b garbage", plain[:20_000], b"garbage", b""):
        (tmp_path / "hoc.tar.gz").write_bytes(data)
        with pytest.raises(InputError, match=r"hoc\.tar\.gz is (truncated|damaged|empty)"):
            read_hoc_originals(tmp_path / "hoc.tar.gz")


def test_bioasq_golden(tmp_path: Path) -> None:
    golden = {
        "questions": [
            {"type": "factoid", "id": "f"},
            {"type": "yesno", "id": "a1", "body": 'Is "it"?', "exact_answer": "yes", "snippets": [{"text": "It\nis."}]},
            {"type": "yesno", "id": "a2", "body": "Is it?", "exact_answer": ["No"], "snippets": [{"text": "No."}]},
        ]
    }
    assert read_bioasq_golden(write(tmp_path / "golden.json", json.dumps(golden))) == [
        Labelled("a1", 'Is "it"?', "yes", "It is."),
        Labelled("a2", "Is it?", "no", "No."),
    ]
    write(tmp_path / "qa.toml", 'task = "pairs"\nformat = "bioasq"\ntrain = "golden.json"\ndev = "golden.json"\n')
    data = open_own(tmp_path / "qa.toml")
    assert (data.labels, data.metric) == (("no", "yes"), "accuracy")
    assert data.read("train") == read_bioasq_golden(tmp_path / "golden.json")


QUESTION = {"type": "yesno", "id": "a", "body": "Is it?", "exact_answer": "no", "snippets": [{"text": "It is."}]}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({}, 'must hold a list "questions"'),
        ({"questions": [3]}, "question 1: a JSON object is wanted"),
        ({"questions": [{"type": "yesno", "exact_answer": "maybe"}]}, "question 1: the answer must be yes or no"),
        ({"questions": [QUESTION | {"snippets": None}]}, 'question 1: "snippets" must be a list of objects'),
        ({"questions": [QUESTION | {"snippets": 7}]}, 'question 1: "snippets" must be a list of objects'),
        ({"questions": [QUESTION | {"snippets": ["It is."]}]}, 'question 1: "snippets" must be a list of objects'),
        ({"questions": [QUESTION | {"snippets": []}]}, 'question 1: "snippets" must be a list of texts'),
        ({"questions": [QUESTION | {"id": "\ud800"}]}, 'question 1: "id": '),
        ({"questions": [QUESTION | {"snippets": [{"text": "half \udc00"}]}]}, 'question 1: "snippets": '),
    ],
)
def test_bad_golden(tmp_path: Path, value: object, sentence: str) -> None:
    with pytest.raises(InputError, match="golden") as caught:
        read_bioasq_golden(write(tmp_path / "golden.json", json.dumps(value)))
    assert sentence in str(caught.value)
