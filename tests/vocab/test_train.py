"""Training: the pieces, the counts, the same bytes every time."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers

from pubmedbert.cli import main
from pubmedbert.errors import InputError
from pubmedbert.vocab import train as module
from pubmedbert.vocab.folder import SPECIALS, dump, load, pieces
from pubmedbert.vocab.train import count_words, train, train_folder
from tests.vocab.fakes import HOSTILE, FakeCorpus, contents, made_up, serve_store, texts


def bert_words(text: str) -> list[str]:
    normal = normalizers.BertNormalizer().normalize_str(text)
    return [word for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(normal)]


def test_special_tokens_come_first() -> None:
    tokenizer = train(texts(made_up(50)), 300)
    assert pieces(tokenizer)[:5] == list(SPECIALS) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def test_frequent_words_become_pieces_and_pairs_get_types() -> None:
    tokenizer = train(texts(made_up(200)), 2000)
    one = tokenizer.encode("Insulin NALOXONE")
    assert one.tokens == ["[CLS]", "insulin", "naloxone", "[SEP]"]
    two = tokenizer.encode("insulin", "kinase inhibits")
    assert two.tokens == ["[CLS]", "insulin", "[SEP]", "kinase", "inhibits", "[SEP]"]
    assert two.type_ids == [0, 0, 0, 1, 1, 1]
    assert tokenizer.decode(two.ids) == "insulin kinase inhibits"


def test_a_small_corpus_gives_a_small_vocabulary() -> None:
    tokenizer = train(["insulin insulin"], 1000)
    found = pieces(tokenizer)
    assert "insulin" in found
    assert len(found) == tokenizer.get_vocab_size() < 30
    assert not any("unused" in piece for piece in found)


def test_rare_characters_are_unknown_and_spoil_nothing() -> None:
    tokenizer = train(["insulin " * 5 + "insu☃lin"], 1000)
    assert "☃" not in pieces(tokenizer)
    assert tokenizer.encode("insu☃lin insulin", add_special_tokens=False).tokens == ["[UNK]", "insulin"]


@pytest.mark.parametrize("empty", [[], [""], [" \n", "\u200b"], ["x" * 101]])
def test_an_empty_corpus_is_bad_input(empty: list[str]) -> None:
    with pytest.raises(InputError, match="corpus is empty"):
        train(empty, 100)


def test_no_room_for_the_alphabet_is_bad_input() -> None:
    with pytest.raises(InputError, match=r"--size 8 is too small: .* take 9"):
        train(["abab abab"], 8)  # five special tokens, a, b, ##a, ##b
    assert len(pieces(train(["abab abab"], 9))) == 9


@given(st.lists(st.one_of(st.text(max_size=40), st.sampled_from(HOSTILE)), max_size=8))
def test_counts_equal_those_of_the_pre_tokeniser(lines: list[str]) -> None:
    expected = Counter(word for line in lines for word in bert_words(line) if len(word) <= 100)
    assert count_words(lines) == dict(expected)


def test_counting_in_small_portions_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = made_up(100)
    whole = count_words(texts(corpus))
    monkeypatch.setattr(module, "CHUNKS", 7)
    assert count_words(texts(corpus)) == whole


def test_a_full_table_forgets_the_rare_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNKS", 10)
    lines = [f"insulin kinase once{index}" for index in range(200)]
    words = count_words(lines, limit=50)
    assert len(words) <= 50
    assert words["insulin"] == words["kinase"] == 200


def test_large_counts_are_scaled_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"insulin": 30_000, "kinase": 20_000}

    def fed() -> Counter[str]:
        return Counter(word for text in module._repeat(words, set("insulinkase")) for word in text.split())

    assert fed() == words
    monkeypatch.setattr(module, "FED", 5000)
    assert fed() == {"insulin": 3000, "kinase": 2000}


def merged_by_hand(words: dict[str, int], size: int) -> list[str]:
    """The merges worked out the slow way: always the most frequent pair, the one of the lowest ids among equals."""
    inside = {character for word in words for character in word[1:]}
    alphabet = sorted(set("".join(words)))
    found = [*SPECIALS, *alphabet, *(f"##{character}" for character in alphabet if character in inside)]
    cut = {word: [word[0], *(f"##{character}" for character in word[1:])] for word in words}
    while len(found) < size:
        pairs: Counter[tuple[int, int]] = Counter()
        for word, parts in cut.items():
            for left, right in pairwise(parts):
                pairs[found.index(left), found.index(right)] += words[word]
        if not pairs:
            break
        left, right = (found[index] for index in min(pairs, key=lambda pair: (-pairs[pair], pair)))
        new = left + right.removeprefix("##")
        found += [new] if new not in found else []
        for parts in cut.values():
            index = 0
            while index < len(parts) - 1:
                if parts[index] == left and parts[index + 1] == right:
                    parts[index : index + 2] = [new]
                index += 1
    return found


@settings(max_examples=50)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=7), st.integers(2, 9), min_size=3), st.integers(15, 60))
def test_the_pieces_are_those_found_by_hand(words: dict[str, int], size: int) -> None:
    lines = [f"{word} " * count for word, count in words.items()]
    assert pieces(train(lines, size)) == merged_by_hand(words, size)


@settings(max_examples=25)
@given(st.dictionaries(st.text("ab", min_size=1, max_size=10), st.integers(2, 4), min_size=10), st.integers(20, 80))
def test_ties_fall_the_same_way_every_time(words: dict[str, int], size: int) -> None:
    lines = [f"{word} " * count for word, count in words.items()]
    assert len({tuple(pieces(train(lines, size))) for _ in range(5)}) == 1


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_the_number_of_threads_changes_nothing(tmp_path: Path, threads: str) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.vocab.fakes import made_up;"
        "from pubmedbert.vocab.train import train_folder; train_folder(made_up(400), Path(sys.argv[1]), 400)"
    )
    environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "there")], check=True, env=environment)
    train_folder(made_up(400), tmp_path / "here", 400)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_the_command_trains_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve_store(monkeypatch, made_up(100))
    out = tmp_path / "tokenizer"
    command = ["vocab", "train", "--store", "store", "--out", str(out), "--size", "5000"]
    main(command)
    first = capsys.readouterr()
    assert "pieces asked for" in first.err
    assert first.out.strip().endswith("word pieces")
    before = contents(out)
    main(command)
    assert "nothing to do" in capsys.readouterr().err
    assert contents(out) == before
    serve_store(monkeypatch, made_up(99))
    with pytest.raises(SystemExit, match="2"):
        main(command)
    assert capsys.readouterr().err == (
        f"error: {out} holds a vocabulary trained with another corpus; choose another --out\n"
    )
    assert contents(out) == before


@pytest.mark.parametrize(
    ("corpus", "size", "sentence"),
    [
        (FakeCorpus([]), "1000", "the corpus is empty: no text to learn a vocabulary from"),
        (made_up(10), "20", "--size 20 is too small"),
        (made_up(10), "1000000000", "--size must be from 6 to 1,000,000, not 1000000000"),
        (made_up(10), "9" * 30, "--size must be from 6 to 1,000,000, not 9999"),
    ],
)
def test_bad_input_leaves_nothing_behind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    corpus: FakeCorpus,
    size: str,
    sentence: str,
) -> None:
    serve_store(monkeypatch, corpus)
    with pytest.raises(SystemExit, match="2"):
        main(["vocab", "train", "--store", "s", "--out", str(tmp_path / "tokenizer"), "--size", size])
    assert f"error: {sentence}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="choose another --out"):
        train_folder(made_up(10), tmp_path, 300)
    assert contents(tmp_path) == {"thesis.tex": b"years of work"}


def test_real_abstracts(real_data: Path, tmp_path: Path) -> None:
    with gzip.open(real_data / "abstracts" / "abstracts-00.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in islice(file, 4000)]
    corpus = FakeCorpus([(str(n), row["title"] or "", row["abstract"]) for n, row in enumerate(rows)])
    tokenizer = train_folder(corpus, tmp_path / "tokenizer", 10_000)
    assert tokenizer.get_vocab_size() == 10_000
    assert {"insulin", "lymphoma", "hypertension"} <= set(pieces(tokenizer))
    assert dump(load(tmp_path / "tokenizer")) == dump(tokenizer)
