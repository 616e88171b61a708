"""Segments, order, masks and packs: properties, not examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.shards.samples import Ints, Masking, Rows, Special, batches, mask, order, pack, segments, single

V = 1000
UNK, CLS, SEP, MASK = 1, 2, 3, 4
SPECIAL = np.arange(V) < 5


def special(seed: int = 0) -> Special:
    """A vocabulary in which about a third of the pieces continue a word."""
    continuation = np.random.default_rng(seed).random(V) < 1 / 3
    continuation[:5] = False
    return Special(0, CLS, SEP, MASK, continuation, SPECIAL)


def rows_of(lengths: list[int], seed: int) -> Ints:
    """Framed rows of random ordinary pieces, now and then an [UNK]."""
    rng = np.random.default_rng(seed)
    texts = [rng.integers(5, V, length - 2) for length in lengths]
    rows = [np.concatenate([[CLS], np.where(rng.random(len(t)) < 0.02, UNK, t), [SEP]]) for t in texts]
    return np.concatenate(rows).astype(np.int64)


def words(row: Ints, kinds: Special) -> list[list[int]]:
    """Independent reading of a row's words: places of each, [CLS] and [SEP] left out."""
    found: list[list[int]] = []
    for place in range(1, len(row) - 1):
        if row[place] == UNK:
            continue
        if row[place - 1] in (CLS, UNK) or not kinds.continuation[row[place]]:
            found.append([])
        found[-1].append(place)
    return found


lengths_of_rows = st.lists(st.integers(2, 60), min_size=1, max_size=12)
seeds = st.integers(0, 2**31)


@given(lengths_of_rows, seeds, seeds, st.integers(0, 100))
def test_masks_are_whole_words_and_never_special(lengths: list[int], seed: int, text: int, epoch: int) -> None:
    kinds = special(text)
    tokens = rows_of(lengths, text)
    samples = np.arange(len(lengths))
    masked, where = mask(tokens, lengths, samples, kinds, seed, epoch)
    chosen = set(where.tolist())
    assert sorted(chosen) == where.tolist()
    first = 0
    for length in lengths:
        for word in words(tokens[first : first + length], kinds):
            picked = {first + place in chosen for place in word}
            assert len(picked) == 1, "a word is masked whole or not at all"
        first += length
    assert not SPECIAL[tokens[where]].any()
    untouched = np.setdiff1d(np.arange(len(tokens)), where)
    assert (masked[untouched] == tokens[untouched]).all()
    drawn = masked[where]
    assert (np.isin(drawn, kinds.replacements) | (drawn == MASK)).all()


@given(lengths_of_rows, seeds, st.integers(0, 50), st.randoms(use_true_random=False))
def test_a_rows_mask_depends_on_nothing_but_its_number(
    lengths: list[int], seed: int, epoch: int, random: object
) -> None:
    kinds = special()
    rng = np.random.default_rng(seed % 1000)
    numbers = rng.choice(10**9, len(lengths), replace=False)
    rows = [rows_of([length], int(number)) for length, number in zip(lengths, numbers, strict=True)]
    masked, where = mask(np.concatenate(rows), lengths, numbers, kinds, seed, epoch)
    first = 0
    for row, length, number in zip(rows, lengths, numbers, strict=True):
        alone, alone_where = mask(row, [length], np.array([number]), kinds, seed, epoch)
        assert (masked[first : first + length] == alone).all()
        inside = where[(where >= first) & (where < first + length)] - first
        assert inside.tolist() == alone_where.tolist()
        first += length


@pytest.mark.parametrize("length", [8, 25, 128])
def test_masked_share_and_actions_over_10000_rows(length: int) -> None:
    kinds = special()
    lengths = [length] * 10_000
    tokens = rows_of(lengths, 1)
    masked, where = mask(tokens, lengths, np.arange(10_000), kinds, seed=3, epoch=0)
    inner = int((~SPECIAL[tokens]).sum())
    assert len(where) / inner == pytest.approx(0.15, abs=0.002)
    is_mask = masked[where] == MASK
    kept = masked[where] == tokens[where]
    assert is_mask.mean() == pytest.approx(0.8, abs=0.015)
    assert kept.mean() == pytest.approx(0.1, abs=0.015)
    drawn = masked[where][~is_mask & ~kept]
    assert len(np.unique(drawn)) > 0.5 * min(len(drawn), V - 5), "replacements come from the whole vocabulary"


def test_all_masked_pieces_may_become_mask_and_none_be_random() -> None:
    tokens, lengths = rows_of([100] * 50, 0), [100] * 50
    masked, where = mask(tokens, lengths, np.arange(50), special(), 0, 0, Masking(0.3, as_mask=1.0, as_random=0.0))
    assert (masked[where] == MASK).all()
    assert len(where) / (~SPECIAL[tokens]).sum() == pytest.approx(0.3, abs=0.02)
    _, fewer = mask(tokens, lengths, np.arange(50), special(), 0, 0, Masking(0.15))
    assert set(fewer.tolist()) < set(where.tolist()), "a larger share masks the same words and more"


def test_masks_differ_between_seeds_epochs_and_samples() -> None:
    kinds = special()
    tokens = rows_of([100], 0)
    base = mask(tokens, [100], np.array([7]), kinds, 1, 1)[1].tolist()
    for number, seed, epoch in ((8, 1, 1), (7, 2, 1), (7, 1, 2)):
        assert mask(tokens, [100], np.array([number]), kinds, seed, epoch)[1].tolist() != base


def test_every_place_is_masked_equally_often() -> None:
    kinds = Special(0, CLS, SEP, MASK, np.zeros(V, bool), SPECIAL)  # all words of one piece
    tokens = np.array([CLS, *range(5, 25), SEP])
    hits = np.zeros(22)
    many = np.tile(tokens, 20_000)
    _, where = mask(many, [22] * 20_000, np.arange(20_000), kinds, 0, 0)
    np.add.at(hits, where % 22, 1)
    assert hits[[0, 21]].sum() == 0
    assert hits[1:21] / 20_000 == pytest.approx(np.full(20, 0.15), abs=0.01)


@st.composite
def corpora(draw: st.DrawFn) -> tuple[Ints, Ints]:
    """Document and sentence offsets: every document has sentences, every sentence tokens."""
    sizes = draw(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=8), min_size=1, max_size=15))
    documents = np.cumsum([0] + [sum(document) for document in sizes])
    sentences = np.cumsum([0] + [sentence for document in sizes for sentence in document])
    return documents.astype(np.int64), sentences.astype(np.int64)


@given(corpora(), st.integers(1, 50))
def test_segments_cover_the_text_without_crossing_documents(corpus: tuple[Ints, Ints], longest: int) -> None:
    documents, sentences = corpus
    kinds = special()
    tokens = np.random.default_rng(longest).integers(5, V, documents[-1]).astype(np.uint16)
    tokens[sentences[:-1]] = np.flatnonzero(~kinds.continuation)[-1]  # a sentence starts with a word
    table = segments(documents, sentences, longest, tokens, kinds.continuation)
    assert table[0, 0] == 0
    assert table[-1, 1] == documents[-1]
    assert (table[1:, 0] == table[:-1, 1]).all(), "nothing is lost and nothing is read twice"
    assert (table[:, 1] - table[:, 0]).max() <= longest
    starts = set(documents.tolist())
    boundaries = set(sentences.tolist())
    for first, end in table.tolist():
        assert not any(first < start < end for start in starts)
        if end not in boundaries:
            sentence = min(b for b in boundaries if b > first)
            assert sentence - first > longest, "only a sentence that does not fit is cut"
            inside_word = kinds.continuation[tokens[end]]
            assert not inside_word or kinds.continuation[tokens[first + 1 : end]].all(), "and cut between words"
            assert inside_word or kinds.continuation[tokens[end + 1 : first + longest + 1]].all(), "as late as can be"
        elif end not in starts:
            following = min(b for b in boundaries if b > end)
            assert following - first > longest, "another sentence would have fitted"


class Compared(np.ndarray[Any, Any]):
    """An array that counts how much of it is compared."""

    count = 0

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [np.asarray(value) for value in inputs]
        if ufunc is np.less:
            Compared.count += max(value.size for value in plain)
        return getattr(ufunc, method)(*plain, **options)


def test_documents_that_are_cut_are_not_looked_at_again() -> None:
    documents = np.array([*range(1001), 1500])
    tokens = np.full(1500, 7, np.uint16)
    inside = np.zeros(V, dtype=np.bool_)
    table = segments(documents.view(Compared), documents, 5, tokens, inside)
    assert len(table) == 1000 + 100
    assert 0 < Compared.count <= len(documents) + 2 * len(table)
    assert table.tolist() == segments(documents, documents, 5, tokens, inside).tolist()


def test_segments_refuse_no_room() -> None:
    with pytest.raises(ValueError, match="at least one word piece"):
        segments(np.array([0, 1]), np.array([0, 1]), 0, np.zeros(1, np.uint16), np.zeros(V, bool))


@given(st.integers(1, 3000), seeds, st.integers(0, 20))
def test_order_is_a_permutation_that_changes_with_the_epoch(count: int, seed: int, epoch: int) -> None:
    found = order(count, seed, epoch)
    assert np.array_equal(np.sort(found), np.arange(count))
    assert np.array_equal(found, order(count, seed, epoch))
    if count > 20:
        assert not np.array_equal(found, order(count, seed, epoch + 1))
        assert not np.array_equal(found, order(count, seed + 1, epoch))


@given(corpora(), st.integers(3, 30), seeds, st.integers(8, 200), st.integers(1, 6))
def test_packs_hold_each_row_once_and_do_not_depend_on_the_packing(
    corpus: tuple[Ints, Ints], longest: int, seed: int, room: int, multiple: int
) -> None:
    documents, sentences = corpus
    kinds = special()
    tokens = np.random.default_rng(seed % 1000).integers(5, V, documents[-1]).astype(np.uint16)
    table = segments(documents, sentences, longest, tokens, kinds.continuation)
    samples = order(len(table), seed, 0)
    whole = single(table, samples)
    parts = list(batches(whole, room, multiple))
    if multiple > 1:
        assert len(parts) % multiple == 0 or len(parts) == len(samples), "or no row is left for one more"
        loads = [int(part.sizes.sum()) for part in parts]
        assert max(loads) - min(loads) <= int(whole.sizes.max()), "they are about equally large"
    assert sorted(np.concatenate([part.samples for part in parts]).tolist()) == sorted(samples.tolist())

    def rows(groups: list[Rows]) -> list[tuple[list[int], list[int]]]:
        found = []
        for group in groups:
            one = pack(tokens, group, kinds, seed, 0)
            assert len(group.samples) == 1 or len(one.tokens) <= room or groups is not parts
            assert not one.types.any()
            assert one.lengths == sorted(one.lengths)
            assert (one.positions[np.cumsum([0, *one.lengths[:-1]])] == 0).all()
            for row, where, labels in one.rows():
                original = row.copy()
                original[where] = labels
                found.append((original.tolist(), where.tolist()))
        return sorted(found)

    assert rows(parts) == rows([whole]), "memory-sized packs hold the rows and masks of the whole step"


def test_pack_frames_the_text_of_its_segment() -> None:
    tokens = np.arange(10, 30).astype(np.uint16)
    table = np.array([[0, 5], [5, 12], [12, 20]])
    one = pack(tokens, single(table, np.array([2, 0])), special(), 0, 0)
    restored = one.tokens.copy()
    restored[one.where] = one.labels
    assert restored.tolist() == [CLS, *range(10, 15), SEP, CLS, *range(22, 30), SEP]
    assert one.lengths == [7, 10]
