"""Rows: every word once, nothing too long, and the ids of transformers."""

from __future__ import annotations

import random
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizerFast

from pubmedbert.errors import InputError
from pubmedbert.infer.labels.rows import Long, Row, RowEncoder, batches, pack
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.vocab.folder import build, save
from tests.infer.conftest import WORDS
from tests.infer.minilm import MINILM
from tests.vocab.fakes import HOSTILE

TINY_WORDS = ("a", "b", "abc", "abcbcbcbcb", "kinase", "the", "IL-2", "é", "", "\u200b", "[SEP]", "b c", "bb" * 20)
SENTENCES = st.lists(st.sampled_from(TINY_WORDS), max_size=60)


@cache
def tiny() -> ModelTokenizer:
    """The vocabulary of 19 pieces."""
    with TemporaryDirectory() as folder:
        save(build(WORDS), Path(folder))
        return ModelTokenizer(Path(folder), 19)


@cache
def large() -> ModelTokenizer:
    """BERT's own vocabulary."""
    return ModelTokenizer(MINILM, 30522)


@cache
def reference() -> Any:
    return BertTokenizerFast.from_pretrained(MINILM, split_special_tokens=True)


@settings(max_examples=200)
@given(words=SENTENCES, max_length=st.integers(8, 40))
def test_windows_classify_every_word_once_and_in_order(words: list[str], max_length: int) -> None:
    encoder = RowEncoder(tiny(), max_length)
    rows = encoder.words(words, 7)
    assert [word for row in rows for word in row.words] == list(range(len(words)))
    assert all(len(row.tokens) <= max_length for row in rows)
    assert all((row.example, row.second, len(row.where)) == (7, len(row.tokens), len(row.words)) for row in rows)
    whole = RowEncoder(tiny(), 10**6).words(words, 7)[0]
    first_pieces = [whole.tokens[place] for place in whole.where]
    assert [row.tokens[place] for row in rows for place in row.where] == first_pieces
    specials = {tiny().pieces.token_to_id(name) for name in ("[CLS]", "[SEP]", "[PAD]", "[MASK]")}
    for row in rows:
        assert (row.tokens[0], row.tokens[-1]) == (whole.tokens[0], whole.tokens[-1])
        assert not specials & set(row.tokens[1:-1])  # "[SEP]" in a text is text


@settings(max_examples=100)
@given(pieces=st.lists(st.integers(1, 9), min_size=1, max_size=60), room=st.integers(9, 30))
def test_a_word_is_classified_where_it_is_furthest_from_a_cut(pieces: list[int], room: int) -> None:
    words = ["a" + "b" * (count - 1) for count in pieces]  # "a" and count - 1 times "##b"
    rows = RowEncoder(tiny(), room + 2).words(words, 0)
    whole = RowEncoder(tiny(), 10**6).words(words, 0)[0]
    total = len(whole.tokens) - 2

    def distance(word: int, start: int, end: int) -> float:
        """Pieces between a word and the nearest cut of the window of pieces `[start, end)`; below 0 outside of it."""
        first, last = sum(pieces[:word]), sum(pieces[: word + 1])
        return min(first - start if start else np.inf, end - last if end < total else np.inf)

    spans = [(first := sum(pieces[: row.words[0]]) - row.where[0] + 1, first + len(row.tokens) - 2) for row in rows]
    for row, span in zip(rows, spans, strict=True):
        for word in row.words:
            assert distance(word, *span) == max(distance(word, *other) for other in spans)
    for (_, end), (start, _) in pairwise(spans):
        assert start <= end  # no gap
        if start and max(pieces) == 1 and end < total:
            assert end - start >= room // 4


@settings(max_examples=50)
@given(
    a=st.integers(0, 60),
    b=st.none() | st.integers(0, 60),
    max_length=st.integers(8, 40),
)
def test_windows_of_texts(a: int, b: int | None, max_length: int) -> None:
    draw = random.Random(a)
    one, two = (draw.choices(["a", "b", "c", "kinase"], k=count or 0) for count in (a, b))
    encoder = RowEncoder(tiny(), max_length)
    rows = encoder.text(" ".join(one), None if b is None else " ".join(two), 3)
    assert rows[:1] == encoder.text(" ".join(one), None if b is None else " ".join(two), 3, "truncate")
    assert all(len(row.tokens) <= max_length and row.example == 3 and row.where == row.words == () for row in rows)
    ids = tiny().pieces.get_vocab(with_added_tokens=True)
    cut = [ids[word] for word in one]
    read: list[int] = []
    if b is None:
        assert all(row.second == len(row.tokens) for row in rows)
    else:
        cut, room = [ids[word] for word in two], max_length - 3
        kept = one[: max(room // 2, room - b)]
        before = (ids["[CLS]"], *(ids[word] for word in kept), ids["[SEP]"])
        assert all(row.tokens[: row.second] == before for row in rows)
    for row in rows:
        inner = list(row.tokens[1 if b is None else row.second : -1])
        places = [place for place in range(len(read) + 1) if cut[place : place + len(inner)] == inner]
        assert places
        read = cut[: max(len(read), places[-1] + len(inner))]
    assert read == cut
    assert len(rows) == 1 or all(len(row.tokens) == max_length for row in rows)


@pytest.mark.parametrize("text", [text for text in HOSTILE if len(text) < 200])
def test_ids_of_texts_are_those_of_transformers(text: str) -> None:
    encoder = RowEncoder(large(), 512)
    assert list(encoder.text(text, None, 0)[0].tokens) == reference()(text)["input_ids"]
    row, expected = encoder.text(text, "a second text", 0)[0], reference()(text, "a second text")
    assert list(row.tokens) == expected["input_ids"]
    assert [int(place >= row.second) for place in range(len(row.tokens))] == expected["token_type_ids"]


@settings(max_examples=100)
@given(words=st.lists(st.text(min_size=1, max_size=12), max_size=20))
def test_ids_of_words_are_those_of_transformers(words: list[str]) -> None:
    """But for the words that vanish: they keep their place as [UNK]."""
    row = RowEncoder(large(), 512).words(words, 0)[0]
    expected = reference()(words, is_split_into_words=True)
    seen = {word for word in expected.word_ids() if word is not None}
    unknown = large().pieces.token_to_id("[UNK]")
    vanished = {place for place, word in zip(row.where, row.words, strict=True) if word not in seen}
    assert {row.tokens[place] for place in vanished} <= {unknown}
    assert [token for place, token in enumerate(row.tokens) if place not in vanished] == expected["input_ids"]
    firsts = [expected.word_ids().index(word) for word in sorted(seen)]
    assert [row.tokens[place] for place in row.where if place not in vanished] == [
        expected["input_ids"][place] for place in firsts
    ]


def test_batches_of_inputs_are_their_single_rows() -> None:
    encoder = RowEncoder(large(), 16)
    sentences = [text.split() for text in HOSTILE]
    assert encoder.words_batch(sentences) == [encoder.words(words, index) for index, words in enumerate(sentences)]
    pairs = [*((text, None) for text in HOSTILE), *zip(HOSTILE, reversed(HOSTILE), strict=True)]
    ways: tuple[Long, ...] = ("windows", "truncate")
    for long in ways:
        found = encoder.text_batch(pairs, long)
        assert found == [encoder.text(*pair, index, long) for index, pair in enumerate(pairs)]


@pytest.mark.parametrize("max_length", [12, 512])
def test_the_words_found_in_a_text_are_read_like_words_that_are_given(max_length: int) -> None:
    encoder = RowEncoder(large(), max_length)
    for index, (rows, spans) in enumerate(encoder.found_words_batch(HOSTILE)):
        words = [HOSTILE[index][start:end] for start, end in spans]
        assert rows == encoder.words(words, index)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_offsets_are_those_of_the_original_text() -> None:
    text = "  Naïve T-cells\u200b (Fig. 2)\n"
    _, spans = RowEncoder(large(), 512).found_words_batch([text])[0]
    assert [text[start:end] for start, end in spans] == ["Naïve", "T", "-", "cells", "(", "Fig", ".", "2", ")"]


def test_no_words_are_a_row_without_places() -> None:
    encoder = RowEncoder(tiny(), 8)
    assert encoder.words_batch([[]]) == encoder.text_batch([("", None)]) == [[Row((2, 3), 2, 0)]]
    assert encoder.words_batch([]) == encoder.text_batch([]) == []


def test_what_cannot_be_read() -> None:
    with pytest.raises(InputError, match="at least 8 word pieces, not 7"):
        RowEncoder(tiny(), 7)
    encoder = RowEncoder(tiny(), 8)
    with pytest.raises(InputError, match="not valid Unicode"):
        encoder.words(["a", "\ud800"], 0)
    with pytest.raises(InputError, match="not valid Unicode"):
        encoder.text("a", "\ud800", 0)
    with pytest.raises(InputError, match="not valid Unicode"):
        encoder.found_words_batch(["\ud800"])


def test_the_tokenizer_that_is_given_stays_as_it_is() -> None:
    tokenizer = tiny()
    RowEncoder(tokenizer, 8)
    assert tokenizer.encode("[MASK]") == [2, tokenizer.mask_id, 3]


@settings(max_examples=100)
@given(sentences=st.lists(SENTENCES, max_size=8), max_length=st.integers(8, 20), pairs=st.booleans())
def test_a_pack_holds_its_rows(sentences: list[list[str]], max_length: int, pairs: bool) -> None:
    encoder = RowEncoder(tiny(), max_length)
    texts = [(" ".join(words), "the kinase") for words in sentences]
    encoded = encoder.text_batch(texts) if pairs else encoder.words_batch(sentences)
    rows = [row for example in reversed(encoded) for row in example]
    packed = pack(rows)
    assert packed.rows == sorted(rows, key=lambda row: len(row.tokens))
    assert packed.lengths == [len(row.tokens) for row in packed.rows]
    assert packed.examples == list(reversed(range(len(sentences))))
    assert [packed.examples[owner] for owner in packed.owners] == [row.example for row in packed.rows]
    assert packed.tokens.tolist() == [token for row in packed.rows for token in row.tokens]
    assert packed.positions.tolist() == [place for row in packed.rows for place in range(len(row.tokens))]
    assert packed.types.tolist() == [
        int(place >= row.second) for row in packed.rows for place in range(len(row.tokens))
    ]
    assert packed.tokens[packed.where].tolist() == [row.tokens[place] for row in packed.rows for place in row.where]
    arrays = (packed.tokens, packed.positions, packed.types, packed.where, packed.owners)
    assert {array.dtype for array in arrays} == {np.dtype(np.int64)}


@given(sizes=st.lists(st.integers(1, 30), max_size=30), budget=st.integers(1, 60))
def test_batches_hold_every_example_once_within_the_budget(sizes: list[int], budget: int) -> None:
    examples = [[Row((1,) * size, size, number)] for number, size in enumerate(sizes)]
    found = list(batches(examples, budget))
    assert sorted(number for batch in found for number in batch) == list(range(len(sizes)))
    assert all(len(batch) == 1 or sum(sizes[number] for number in batch) <= budget for batch in found)
    assert [sizes[number] for batch in found for number in batch] == sorted(sizes)
