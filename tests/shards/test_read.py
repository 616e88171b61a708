"""Opening shards: damage of any file is told in a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pubmedbert.errors import InputError
from pubmedbert.shards import read
from pubmedbert.shards.read import continuation, open_shards, special_ids
from pubmedbert.shards.write import write_shards
from pubmedbert.vocab.folder import SPECIALS, build, load, pieces, save
from pubmedbert.vocab.train import train
from tests.vocab.fakes import general_tokenizer, made_up, texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shards")
    save(train(texts(made_up(200)), 600), root / "tokenizer")
    return write_shards(made_up(200), root / "tokenizer", root / "shards", 0.1).folder


def test_an_opened_folder(folder: Path) -> None:
    shards = open_shards(folder)
    split = shards.split("train")
    assert split.tokens.dtype == np.uint16
    assert split.documents.dtype == split.sentences.dtype == np.int64
    assert len(split.tokens) == split.documents[-1] == split.sentences[-1] == shards.meta.splits["train"].tokens
    assert shards.unigram.shape == (shards.meta.vocab_size,)
    with pytest.raises(ValueError, match="read-only"):
        split.tokens[0] = 1


def test_which_pieces_continue_and_which_are_special(folder: Path) -> None:
    tokenizer = folder / "tokenizer"
    inside = continuation(tokenizer)
    assert inside.dtype == np.bool_
    assert inside.tolist() == [piece.startswith("##") for piece in pieces(load(tokenizer))]
    assert inside.any()
    assert special_ids(tokenizer) == frozenset(range(5))
    assert special_ids(general_tokenizer()) == {0, 100, 101, 102, 103}


def edit(**fields: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "meta.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return change


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def shorten(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) - 8])

    return change


def store(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        np.save(folder / name, change(np.load(folder / name)))

    return write


def swapped(offsets: np.ndarray) -> np.ndarray:
    offsets[[1, 2]] = offsets[[2, 1]]
    return offsets


def outside(folder: Path) -> None:
    tokens = np.memmap(folder / "heldout" / "tokens.bin", dtype="<u2", mode="r+")
    tokens[-1] = 60_000
    tokens.flush()


def other_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")
    save(build([*SPECIALS, "gene"]), folder / "tokenizer")


def count(name: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "meta.json"
        meta = json.loads(path.read_text())
        meta["splits"]["train"][name] = value
        path.write_text(json.dumps(meta))

    return change


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (shutil.rmtree, "holds no shards"),
        (remove("meta.json"), "holds no shards"),
        (shorten("meta.json"), "meta.json is not JSON"),
        (edit(format=2), "says format 2; this version reads format 1"),
        (edit(format=None), "says format None"),
        (edit(splits=3), "is not the meta data of shards"),
        (edit(splits={}), "meta.json is damaged"),
        (edit(splits={"train": {"documents": 1}}), "is not the meta data of shards"),
        (edit(dtype="float64"), "meta.json is damaged"),
        (edit(vocab_size="many"), "meta.json is damaged"),
        (edit(vocab_size=77), "unigram.npy is int64"),
        (count("words", None), "meta.json is damaged"),
        (count("unknown", -1), "meta.json is damaged"),
        (edit(empty=None), "meta.json is damaged"),
        (edit(corpus=3), "meta.json is damaged"),
        (edit(sentence_splitter=None), "is not the meta data of shards"),
        (edit(sentence_splitter={"version": 1}), "meta.json is damaged"),
        (edit(surprise=1), "is not the meta data of shards"),
        (other_tokenizer, "is not the tokenizer these shards were made with"),
        (remove("tokenizer/tokenizer.json"), "cannot read"),
        (remove("unigram.npy"), "cannot read"),
        (store("unigram.npy", lambda counts: counts + 1), "does not add up"),
        (remove("train/tokens.bin"), "cannot read"),
        (shorten("train/tokens.bin"), "it is cut short"),
        (outside, "holds the id 60000, outside the vocabulary"),
        (remove("heldout/documents.npy"), "cannot read"),
        (shorten("heldout/sentences.npy"), "cannot read"),
        (store("train/documents.npy", lambda offsets: offsets[1:]), "documents.npy is int64"),
        (store("train/documents.npy", lambda offsets: offsets.astype(np.int32)), "documents.npy is int32"),
        (store("train/documents.npy", lambda offsets: offsets + 1), "does not fit"),
        (store("train/sentences.npy", swapped), "does not fit"),
    ],
)
def test_damage_is_told_in_a_sentence(
    folder: Path, tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    damage(copy)
    with pytest.raises(InputError) as caught:
        open_shards(copy)
    assert sentence in str(caught.value)
    assert str(copy) in str(caught.value)


def one_later(place: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(offsets: np.ndarray) -> np.ndarray:
        offsets[place] += 1
        return offsets

    return change


def twice(offsets: np.ndarray) -> np.ndarray:
    offsets[60] = offsets[59]
    return offsets


def moved(counts: np.ndarray) -> np.ndarray:
    counts[[7, 8]] += [1, -1]
    return counts


@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize(
    ("name", "damage", "sentence"),
    [
        ("train/documents.npy", one_later(60), r"documents\.npy.* is damaged"),
        ("train/sentences.npy", twice, r"sentences\.npy.* is damaged"),
        ("heldout/documents.npy", one_later(3), r"documents\.npy.* is damaged"),
        ("unigram.npy", moved, r"unigram\.npy does not count the tokens"),
    ],
)
def test_damage_inside_is_found_when_all_is_read(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    damage: Callable[[np.ndarray], np.ndarray],
    sentence: str,
    checksums: bool,
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    monkeypatch.setattr(read, "PEEK", 2)  # what lies in the middle of long shards
    if not checksums:  # as older shards
        meta = json.loads((copy / "meta.json").read_text())
        for counts in meta["splits"].values():
            del counts["documents_sha256"], counts["sentences_sha256"]
        (copy / "meta.json").write_text(json.dumps(meta))
    open_shards(copy).verify()
    store(name, damage)(copy)
    with pytest.raises(InputError, match=sentence):
        open_shards(copy).verify()


def test_sentences_that_were_moved_are_found_by_their_checksum(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    documents, inside = np.load(copy / "train" / "documents.npy"), np.load(copy / "train" / "sentences.npy")
    place = next(n for n in range(9, len(inside)) if inside[n] not in documents and inside[n + 1] - inside[n] > 1)
    store("train/sentences.npy", one_later(place))(copy)
    open_shards(copy).verify("heldout")
    with pytest.raises(InputError, match=r"sentences\.npy is damaged"):
        open_shards(copy).verify()


def test_damaged_identifiers(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "train" / "doc_ids.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"doc_ids.parquet is damaged"):
        open_shards(copy).doc_ids("train")
