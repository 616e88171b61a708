"""Writing shards: what comes back out, which side a document falls on, the same bytes every time."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import sentencex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pubmedbert.cli import main
from pubmedbert.errors import InputError
from pubmedbert.shards import write as module
from pubmedbert.shards.read import SPLITS, Shards, continuation, open_shards, special_ids
from pubmedbert.shards.write import Encoder, is_heldout, sentences, write_shards
from pubmedbert.vocab.folder import SPECIALS, build, load, save
from pubmedbert.vocab.train import train
from tests.vocab.fakes import HOSTILE, FakeCorpus, contents, general_tokenizer, made_up, serve_store, texts


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocab") / "tokenizer"
    save(train(texts(made_up(300)), 600), folder)
    return folder


def documents(shards: Shards) -> dict[str, list[list[int]]]:
    """The ids of each sentence of each document, read back."""
    found = {}
    for name in SPLITS:
        split = shards.split(name)
        starts = split.sentences.tolist()
        for doc_id, (start, end) in zip(shards.doc_ids(name), pairwise(split.documents.tolist()), strict=True):
            inside = [offset for offset in starts if start <= offset <= end]
            assert inside[0] == start
            assert inside[-1] == end
            found[doc_id] = [split.tokens[a:b].tolist() for a, b in pairwise(inside)]
    return found


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """The ids of each text as the tokenizers library gives them."""
    tokenizer.encode_special_tokens = True
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def expected(corpus: FakeCorpus, tokenizer: Tokenizer) -> dict[str, list[list[int]]]:
    """The same, one document at a time."""
    rows = ((doc_id, encode(tokenizer, sentences(title, abstract))) for doc_id, title, abstract in corpus.texts())
    return {doc_id: [ids for ids in encoded if ids] for doc_id, encoded in rows if any(encoded)}


def sides(corpus: FakeCorpus) -> FakeCorpus:
    """With one document more on each side, both far from empty."""
    return FakeCorpus([("a", "gene", "insulin."), *corpus.documents, ("d", "gene", "insulin.")])


def test_the_two_added_documents_fall_on_different_sides() -> None:
    assert is_heldout("a", 0.5) != is_heldout("d", 0.5)


def test_what_is_written_comes_back(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 7)
    monkeypatch.setattr(module, "FLUSH", 100)
    corpus = made_up(200)
    corpus.documents += [("empty", "", " \n"), ("control", "\u200b", "\x00")]
    shards = write_shards(corpus, tokenizer, tmp_path / "shards", 0.1)
    found = documents(shards)
    assert found == expected(corpus, load(tokenizer))
    assert shards.meta.empty == 2
    assert set(shards.doc_ids("heldout")) == {doc_id for doc_id in found if is_heldout(doc_id, 0.1)}
    assert shards.doc_ids("train") == [doc_id for doc_id in found if not is_heldout(doc_id, 0.1)]


@settings(max_examples=25)
@given(st.lists(st.tuples(st.text(max_size=20), st.one_of(st.text(max_size=80), st.sampled_from(HOSTILE))), max_size=6))
def test_any_text_round_trips(rows: list[tuple[str, str]]) -> None:
    import tempfile

    corpus = sides(FakeCorpus([(f"{n}", *row) for n, row in enumerate(rows)]))
    with tempfile.TemporaryDirectory() as name:
        made = build([*SPECIALS, *"abgenisul.[]", *(f"##{c}" for c in "abgenisulk"), "gene", "mask"])
        save(made, Path(name) / "tokenizer")
        shards = write_shards(corpus, Path(name) / "tokenizer", Path(name) / "shards", 0.5)
        assert documents(shards) == expected(corpus, made)
        for split in map(shards.split, SPLITS):
            assert (np.diff(split.documents) > 0).all()
            assert (np.diff(split.sentences) > 0).all()
            assert set(split.documents.tolist()) <= set(split.sentences.tolist())
            assert not np.isin(split.tokens, [0, 2, 3, 4]).any()


@pytest.mark.parametrize("text", [*HOSTILE, "[MASK]", "[SEP][CLS] [PAD]", "x [MASK] y", " ".join(HOSTILE)])
def test_no_text_spells_a_special_token(text: str) -> None:
    made, special = load(general_tokenizer()), special_ids(general_tokenizer())
    (ids,) = Encoder(made)([text])
    assert set(ids) & special <= {made.token_to_id("[UNK]")}
    assert [ids] == encode(made, [text])


@pytest.fixture(scope="module")
def encoders() -> tuple[Encoder, Encoder, Tokenizer]:
    folder = general_tokenizer()
    return Encoder(load(folder)), Encoder(load(folder), room=3), load(folder)


@settings(max_examples=300)
@given(
    texts=st.lists(
        st.one_of(st.text(), st.text("a \u0301\u0327\u05b0Éİςσ\u1100\u1161\n\u2028\x1c#[]MASK中.", max_size=30)),
        max_size=5,
    )
)
def test_the_table_gives_the_ids_of_the_library(encoders: tuple[Encoder, Encoder, Tokenizer], texts: list[str]) -> None:
    large, small, tokenizer = encoders
    assert large(texts) == small(texts) == encode(tokenizer, texts)


def test_a_token_with_a_space_in_it_is_bad_input() -> None:
    tokenizer = build([*SPECIALS, "gene"])
    tokenizer.add_tokens(["gene therapy"])
    with pytest.raises(InputError, match="'gene therapy'"):
        Encoder(tokenizer)


@settings(max_examples=300)
@given(st.one_of(st.text(), st.text("aB. !?\n()\"'«。\u2028\u2009\u0085\u00a0é😀", max_size=40)))
def test_sentences_lose_nothing(text: str) -> None:
    title, *rest = sentences("A title. Whole.", text)
    assert title == "A title. Whole."
    assert "".join("".join(rest).split()) == "".join(text.split())


def test_sentences_of_an_abstract() -> None:
    found = sentences("T", "Levels rose (e.g. Fig. 2) by 3.5 mg. Smith et al. disagreed. J.\u2028A.\u2028B")
    assert [sentence.strip() for sentence in found[:3]] == [
        "T",
        "Levels rose (e.g. Fig. 2) by 3.5 mg.",
        "Smith et al. disagreed.",
    ]


def test_long_texts_are_split_in_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are texts on which the splitter's time grows with the square of the length."""
    lengths, real = [], sentencex.segment

    def noted(code: str, text: str) -> list[str]:
        lengths.append(len(text))
        found: list[str] = real(code, text)
        return found

    monkeypatch.setattr("sentencex.segment", noted)
    for text in ("One sentence is here. " * 6000, "word" * 40_000):
        assert "".join(sentences("", text)) == text
    assert len(lengths) == 3 + 4
    assert max(lengths) == 50_000
    _, *many = sentences("", "One sentence is here. " * 6000)
    assert {sentence.strip() for sentence in many} == {"One sentence is here."}, "none is cut"
    _, *whole = sentences("", "One sentence is here. " * 100)
    assert {sentence.strip() for sentence in whole} == {"One sentence is here."}


def test_a_panic_of_the_splitter_costs_one_long_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    def panic(language: str, text: str) -> list[str]:
        raise error

    monkeypatch.setattr("sentencex.segment", panic)
    error: BaseException = PanicException("not a char boundary")
    assert sentences("T", "One. Two.") == ["T", "One. Two."]
    error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        sentences("T", "One. Two.")


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_only_adds(doc_id: str, share: float, other: float) -> None:
    small, large = sorted((share, other))
    assert is_heldout(doc_id, small) <= is_heldout(doc_id, large)


def test_the_share_is_about_what_was_asked_for() -> None:
    held = sum(is_heldout(f"pmid:{number}", 0.05) for number in range(20_000))
    assert 850 < held < 1150
    assert [n for n in range(200) if is_heldout(f"pmid:{n}", 0.01)] == [0, 35, 170]  # frozen: a format promise


def test_a_document_stays_on_its_side_whatever_else_there_is(tmp_path: Path, tokenizer: Path) -> None:
    corpus = made_up(200)
    half = FakeCorpus(corpus.documents[::2])
    whole, part = (write_shards(c, tokenizer, tmp_path / name, 0.1) for c, name in ((corpus, "whole"), (half, "part")))
    assert set(part.doc_ids("heldout")) < set(whole.doc_ids("heldout"))
    assert set(part.doc_ids("train")) < set(whole.doc_ids("train"))


def test_two_runs_write_the_same_bytes(tmp_path: Path, tokenizer: Path) -> None:
    for name in ("one", "two"):
        write_shards(made_up(150), tokenizer, tmp_path / name, 0.1)
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")
    assert set(one) == {
        *(f"tokenizer/{path}" for path in contents(tokenizer)),
        *("meta.json", "unigram.npy"),
        *(f"{s}/{f}" for s in SPLITS for f in ("tokens.bin", "documents.npy", "sentences.npy", "doc_ids.parquet")),
    }


def test_the_counts_of_the_meta_data(tmp_path: Path, tokenizer: Path) -> None:
    shards = write_shards(made_up(200), tokenizer, tmp_path / "shards", 0.1)
    inside = continuation(shards.tokenizer_folder)
    for name in SPLITS:
        counts, tokens = shards.meta.splits[name], np.asarray(shards.split(name).tokens)
        assert counts.tokens == len(tokens)
        assert counts.words == (~inside[tokens]).sum()
        assert counts.unknown == (tokens == 1).sum()
    expected = np.bincount(shards.split("train").tokens, minlength=len(inside))
    assert (shards.unigram == expected).all()


def test_a_large_vocabulary_takes_four_bytes(tmp_path: Path) -> None:
    save(build([*SPECIALS, *(f"w{n}" for n in range(70_000))]), tmp_path / "tokenizer")
    corpus = FakeCorpus([(f"{n}", "w69999", f"w{n}") for n in range(20)])
    shards = write_shards(corpus, tmp_path / "tokenizer", tmp_path / "shards", 0.3)
    assert shards.meta.dtype == "uint32"
    assert shards.split("train").tokens[0] == 70_004


def test_a_vocabulary_alone_is_completed(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "alone").mkdir()
    shutil.copy(tokenizer / "vocab.txt", tmp_path / "alone")
    shards = write_shards(made_up(100), tmp_path / "alone", tmp_path / "shards", 0.1)
    assert contents(shards.tokenizer_folder) == contents(tokenizer)


def shards_command(tokenizer: Path, out: Path, *more: str) -> list[str]:
    return ["shards", "--store", "s", "--tokenizer", str(tokenizer), "--out", str(out), *more]


def test_the_command_runs_once(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve_store(monkeypatch, made_up(100))
    out = tmp_path / "shards"
    main(shards_command(tokenizer, out, "--heldout", "0.1"))
    assert "tokens / document" in capsys.readouterr().out
    before = contents(out)
    main(shards_command(tokenizer, out, "--heldout", "0.1"))
    assert "nothing to do" in capsys.readouterr().err
    for corpus, share, other in ((made_up(100), "0.2", "held-out share"), (made_up(99), "0.1", "corpus")):
        serve_store(monkeypatch, corpus)
        with pytest.raises(SystemExit, match="2"):
            main(shards_command(tokenizer, out, "--heldout", share))
        error = f"error: {out} holds shards made with another {other}; choose another --out\n"
        assert capsys.readouterr().err == error
    assert contents(out) == before


def test_from_a_real_store(tmp_path: Path) -> None:
    source, store = tmp_path / "source.jsonl", str(tmp_path / "store")
    rows = [
        {"pmid": str(n + 1), "title": t, "abstract": f"{a} {n}"} for n, (_, t, a) in enumerate(made_up(300).documents)
    ]
    source.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    tokenizer, out = str(tmp_path / "tokenizer"), tmp_path / "shards"
    for command in (
        ["corpus", "add", str(source), "--store", store],
        ["corpus", "screen", "--store", store, "--min-words", "10"],
        ["vocab", "train", "--store", store, "--out", tokenizer, "--size", "500"],
        ["shards", "--store", store, "--tokenizer", tokenizer, "--out", str(out), "--heldout", "0.1"],
    ):
        main(command)
    splits = open_shards(out).meta.splits
    assert splits["train"].documents > splits["heldout"].documents > 0


@pytest.mark.parametrize(
    ("count", "share", "sentence"),
    [
        (0, "0.1", "the corpus has no document with text"),
        (20, "0.0001", "raise --heldout"),
        (20, "0.9999", "leaves no document to train on"),
        (20, "0", "--heldout 0.0 must be a share between 0 and 1"),
        (20, "1.5", "--heldout 1.5 must be a share between 0 and 1"),
        (20, "nan", "must be a share between 0 and 1"),
    ],
)
def test_bad_input_leaves_nothing_behind(
    tmp_path: Path,
    tokenizer: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    count: int,
    share: str,
    sentence: str,
) -> None:
    serve_store(monkeypatch, made_up(count))
    with pytest.raises(SystemExit, match="2"):
        main(shards_command(tokenizer, tmp_path / "shards", "--heldout", share))
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert sentence in error
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds no shards"):
        write_shards(made_up(50), tokenizer, tmp_path, 0.1)
    assert contents(tmp_path) == {"thesis.tex": b"years of work"}


def test_a_failure_in_the_middle_leaves_nothing_behind(tmp_path: Path, tokenizer: Path) -> None:
    class Broken(FakeCorpus):
        def texts(self) -> Iterator[tuple[str, str, str]]:
            yield from self.documents
            raise InputError("parts/x.parquet is damaged")

    with pytest.raises(InputError, match="damaged"):
        write_shards(Broken(made_up(50).documents), tokenizer, tmp_path / "shards", 0.1)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from pubmedbert.shards import write
from tests.vocab.fakes import FakeCorpus, made_up

class Killed(FakeCorpus):
    def texts(self):
        yield from self.documents[:150]
        os.kill(os.getpid(), signal.SIGKILL)

write.BATCH, write.FLUSH = 10, 50
write.write_shards(Killed(made_up(200).documents), Path(sys.argv[1]), Path(sys.argv[2]), 0.1)
"""


def test_a_kill_in_the_middle_leaves_nothing_that_opens(tmp_path: Path, tokenizer: Path) -> None:
    out = tmp_path / "shards"
    run = subprocess.run([sys.executable, "-c", KILLED, str(tokenizer), str(out)], env=os.environ, check=False)
    assert run.returncode == -signal.SIGKILL
    assert not out.exists()
    for path in tmp_path.iterdir():
        with pytest.raises(InputError):
            open_shards(path)
    write_shards(made_up(200), tokenizer, out, 0.1)
    write_shards(made_up(200), tokenizer, tmp_path / "clean", 0.1)
    assert contents(out) == contents(tmp_path / "clean")


def test_real_abstracts(real_data: Path, tmp_path: Path) -> None:
    with gzip.open(real_data / "abstracts" / "abstracts-01.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in islice(file, 3000)]
    corpus = FakeCorpus([(str(n), row["title"] or "", row["abstract"]) for n, row in enumerate(rows)])
    shards = write_shards(corpus, general_tokenizer(), tmp_path / "shards", 0.01)
    train = shards.meta.splits["train"]
    assert train.documents + shards.meta.splits["heldout"].documents == 3000
    assert 5 < train.sentences / train.documents < 20
    assert train.unknown / train.tokens < 0.001
    wanted = expected(FakeCorpus(corpus.documents[::50]), load(general_tokenizer()))
    assert some_documents(shards, set(wanted)) == {name: wanted[name] for name in wanted if not is_heldout(name, 0.01)}


def some_documents(shards: Shards, wanted: set[str]) -> dict[str, list[list[int]]]:
    """The sentences of some training documents."""
    split = shards.split("train")
    found = {}
    for index, doc_id in enumerate(shards.doc_ids("train")):
        if doc_id in wanted:
            first, last = np.searchsorted(split.sentences, split.documents[index : index + 2])
            found[doc_id] = [split.tokens[a:b].tolist() for a, b in pairwise(split.sentences[first : last + 1])]
    return found
