"""Rows of two segments: properties, and that nothing but the content tells the two kinds apart."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from benchmarks.pairs import main, told_apart
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.shards.pairs import Text, pairs
from pubmedbert.shards.samples import Ints, batches, order, pack, segments
from pubmedbert.shards.write import write_shards
from pubmedbert.vocab.folder import save
from pubmedbert.vocab.train import train
from tests.shards.test_samples import CLS, MASK, SEP, V, corpora, special
from tests.vocab.fakes import made_up, texts


def text_of(documents: Ints, sentences: Ints, longest: int) -> Text:
    kinds = special()
    tokens = np.random.default_rng(longest).integers(5, V, documents[-1]).astype(np.uint16)
    tokens[sentences[:-1]] = np.flatnonzero(~kinds.continuation)[-1]  # a sentence starts with a word
    table = segments(documents, sentences, longest, tokens, kinds.continuation)
    return Text(tokens, documents, sentences, kinds.continuation, table, longest)


def document_of(text: Text, place: int) -> int:
    return int(np.searchsorted(text.documents, place, side="right"))


@given(corpora(), st.integers(4, 60), st.integers(0, 2**31), st.integers(0, 9), st.sampled_from([0.0, 0.5, 1.0]))
def test_two_segments_of_one_document_or_of_two(
    corpus: tuple[Ints, Ints], longest: int, seed: int, epoch: int, share: float
) -> None:
    text = text_of(*corpus, longest)
    samples = order(len(text.table), seed, epoch)
    rows = pairs(text, samples, seed, epoch, share)
    assert (rows.samples == samples).all()
    for sample, ((first, middle), (start, stop)), random in zip(
        samples, rows.spans.tolist(), rows.random_next.tolist(), strict=True
    ):
        assert [first, middle] == [text.table[sample, 0], max(middle, first + 1)], "the first segment is never empty"
        assert middle <= text.table[sample, 1]
        assert 0 <= stop - start <= longest - (middle - first)
        if random == 1:
            assert share > 0
            assert document_of(text, start) != document_of(text, first)
            assert document_of(text, start) == document_of(text, stop - 1)
        elif random == 0:
            assert (start, stop) == (middle, text.table[sample, 1])
            assert share < 1 or len(text.documents) == 2 or (middle - first == longest)
        else:
            assert start == stop
    assert (rows.sizes <= longest + 3).all()


@given(corpora(), st.integers(4, 60), st.integers(0, 2**31))
def test_a_row_depends_on_nothing_but_its_number(corpus: tuple[Ints, Ints], longest: int, seed: int) -> None:
    text = text_of(*corpus, longest)
    samples = np.arange(len(text.table))
    whole = pairs(text, samples, seed, 3)
    for sample in samples[:20]:
        alone = pairs(text, np.array([sample]), seed, 3)
        assert (alone.spans[0] == whole.spans[sample]).all()
        assert alone.random_next[0] == whole.random_next[sample]


def real_looking(documents: int = 4000, longest: int = 125) -> Text:
    """Documents of sentences, cut into segments."""
    rng = np.random.default_rng(1)
    sizes = [rng.integers(5, 45, rng.integers(2, 14)) for _ in range(documents)]
    ends = np.cumsum([0, *(size.sum() for size in sizes)])
    return text_of(ends.astype(np.int64), np.cumsum([0, *np.concatenate(sizes)]).astype(np.int64), longest)


def test_half_the_second_segments_are_of_another_document_and_look_alike() -> None:
    text = real_looking()
    rows = pairs(text, np.arange(len(text.table)), 0, 0)
    random, following = (rows.random_next == kind for kind in (1, 0))
    assert random.sum() == pytest.approx(following.sum(), rel=0.05)
    whole = rows.spans[~(random | following), 0]
    assert not (
        np.searchsorted(text.sentences, whole[:, 1]) - np.searchsorted(text.sentences, whole[:, 0], "right")
    ).any()
    assert len(whole) < 0.15 * len(rows.samples)
    assert np.isin(rows.spans[random | following, 1, 0], text.sentences).all(), "both kinds start at sentences"
    titles = [np.isin(rows.spans[kind, 1, 0], text.documents).mean() for kind in (random, following)]
    assert titles[1] == 0
    assert titles[0] < 0.05, "a title at the start does not give another document's text away"
    others = [document_of(text, place) for place in rows.spans[random, 1, 0].tolist()]
    assert len(set(others)) > 0.5 * len(others), "other documents are drawn from all over the corpus"


@pytest.mark.parametrize("longest", [125, 509])
def test_lengths_and_borders_do_not_tell_the_kinds_apart(longest: int) -> None:
    lengths, borders = told_apart(real_looking(longest=longest))
    assert lengths < 0.54
    assert borders < 0.52


def test_a_pack_of_pairs_is_framed_and_typed() -> None:
    text, kinds = real_looking(40), special()
    rows = pairs(text, np.arange(len(text.table)), 0, 0)
    for part in batches(rows, 600):
        one = pack(text.tokens, part, kinds, 0, 0)
        assert len(one.tokens) <= 600
        original = one.tokens.copy()
        original[one.where] = one.labels
        by_sample = {int(s): (spans, r) for s, spans, r in zip(part.samples, part.spans, part.random_next, strict=True)}
        for first, length, sample, random in zip(one.first, one.lengths, one.samples, one.random_next, strict=True):
            spans, label = by_sample[int(sample)]
            (a, b), (c, d) = spans.tolist()
            expected = [CLS, *text.tokens[a:b].tolist(), SEP]
            types = [0] * len(expected)
            if d > c:
                expected += [*text.tokens[c:d].tolist(), SEP]
                types += [1] * (d - c + 1)
            assert original[first : first + length].tolist() == expected
            assert one.types[first : first + length].tolist() == types
            assert random == label
        assert not np.isin(one.labels, [CLS, SEP, MASK]).any()


def test_the_command_measures_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(train(texts(made_up(200)), 600), tmp_path / "tokenizer")
    shards = write_shards(made_up(200), tmp_path / "tokenizer", tmp_path / "shards", 0.1).folder
    monkeypatch.setattr("sys.argv", ["pairs", "--shards", str(shards)])
    main()
    assert re.fullmatch(
        r"(rows of (128|512): lengths tell \d+\.\d%, borders of sentences \d+\.\d%\n){2}", capsys.readouterr().out
    )
