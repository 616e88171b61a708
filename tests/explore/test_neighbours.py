"""Search finds what comparing everything finds, and says of it what the corpus says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.explore.index import make_index
from pubmedbert.explore.index_files import Index, scales
from pubmedbert.explore.neighbours import Neighbour, nearest, neighbours, search, word_state
from pubmedbert.explore.rows import Row
from pubmedbert.explore.summary import attended, entity_types, matched, open_tagger, readable, tagged
from pubmedbert.explore.view import ExploredModel
from pubmedbert.infer.engines.quantise import quantise
from tests.explore.conftest import FakeCorpus
from tests.infer.tuned_folders import HEADS, tuned_folder


@pytest.fixture(scope="module")
def made(explored: ExploredModel, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_index(FakeCorpus(), explored.folder, tmp_path_factory.mktemp("index") / "index")


def exact(vectors: NDArray[np.int8], query: NDArray[np.float32]) -> NDArray[np.float64]:
    """All cosines, of whole numbers."""
    asked = quantise(query[None])[0][0].astype(np.int64)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1) * np.linalg.norm(asked)
    products = vectors.astype(np.int64) @ asked
    cosines: NDArray[np.float64] = np.divide(products, norms, out=np.zeros(len(vectors)), where=norms > 0)
    return cosines


@settings(max_examples=60)
@given(st.data())
def test_search_equals_comparing_everything(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count, width = data.draw(st.integers(1, 3000)), data.draw(st.sampled_from([1, 3, 64, 1040, 1500]))
    extreme = data.draw(st.booleans())  # the largest sums there can be
    whole = rng.choice([-127, 127], (count, width)) if extreme else rng.integers(-127, 128, (count, width))
    vectors, query = whole.astype(np.int8), rng.normal(size=width).astype(np.float32)
    expected, wanted = exact(vectors, query), data.draw(st.integers(1, 20))
    found = search(vectors, scales(vectors), query, wanted, data.draw(st.integers(1, 3)))
    assert found == [(number, expected[number]) for number in np.argsort(-expected, kind="stable")[:wanted].tolist()]


def test_near_ties_come_in_the_order_of_their_cosines() -> None:
    """Vectors that differ in a number or two, which fp32 mixes up."""
    rng = np.random.default_rng(1)
    query = rng.normal(size=768).astype(np.float32)
    changed = np.repeat(quantise(query[None])[0].astype(np.int64), 4000, axis=0)
    changed[np.arange(4000), rng.integers(768, size=4000)] += rng.choice([-1, 1], 4000)
    near = changed.clip(-127, 127).astype(np.int8)
    expected = exact(near, query)
    order = np.argsort(-expected, kind="stable")[:50].tolist()
    rough = expected.astype(np.float32)
    assert np.argsort(-rough, kind="stable")[:50].tolist() != order
    assert [number for number, _ in search(near, scales(near), query, 50, 1)] == order


def test_a_word_finds_itself_and_its_like(made: Index, explored: ExploredModel) -> None:
    sentence = made.sentence(1)
    view = explored.view(sentence)
    place = next(place for place, token in enumerate(view.row.tokens) if token.piece == "kinase")
    found = neighbours(made, explored, view, place, count=20)
    assert len(found) == 20
    assert found[0].score == pytest.approx(1, abs=1e-3)
    assert (found[0].word, found[0].sentence) == ("kinase", sentence)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert {one.word.lower() for one in found[:5]} == {"kinase"}
    for one in found:
        assert one.sentence[one.start : one.end] == one.word
        assert one.link == (f"https://pubmed.ncbi.nlm.nih.gov/{one.doc_id}/" if one.doc_id != "x0123" else None)
    unlinked = nearest(made, word_state(view.row, view.hidden[2], place), count=1000)
    assert len(unlinked) == min(1000, len(made.words))


def test_search_by_what_the_heads_give(explored: ExploredModel, tmp_path: Path) -> None:
    index = make_index(FakeCorpus(20), explored.folder, tmp_path / "index", layer=1, of="heads")
    assert (index.of, index.layer) == ("heads", 1)
    sentence = index.sentence(1)
    view = explored.view(sentence)
    place = next(place for place, token in enumerate(view.row.tokens) if token.piece == "kinase")
    found = neighbours(index, explored, view, place, count=5)
    assert (found[0].word, found[0].sentence) == ("kinase", sentence)
    assert found[0].score == pytest.approx(1, abs=1e-3)


def test_a_word_of_several_pieces_has_one_state(explored: ExploredModel) -> None:
    view = explored.view("imatinib works")
    places = view.row.words()[0]
    assert len(places) > 1
    states = [word_state(view.row, view.hidden[2], place) for place in places]
    assert np.array_equal(states[0], states[-1])
    assert np.allclose(states[0], view.hidden[2][places].mean(axis=0))
    assert view.row.indexed_word(places[-1]) == places


def test_words_are_those_of_the_index(tmp_path: Path) -> None:
    """Where a fine-tuned model has words at spaces, and where a sentence spells what another model fills."""
    texts = [("1", "", "The IL-2 of [MASK] cells was low."), *list(FakeCorpus(5).texts())[:3]]
    corpus = FakeCorpus(5)
    corpus._documents = texts
    spaced = ExploredModel(tuned_folder(tmp_path / "tags", HEADS["tags"], words="spaces"))
    index = make_index(corpus, spaced.folder, tmp_path / "index")
    sentence = index.sentence(0)
    view = spaced.view(sentence)
    pieces = [token.piece for token in view.row.tokens]
    place = pieces.index("2")
    assert len(view.row.words()[view.row.tokens[place].word]) > 1
    (found,) = neighbours(index, spaced, view, place, count=1)
    assert (found.word, found.sentence) == ("2", sentence)
    assert found.score == pytest.approx(1, abs=1e-3)
    assert attended(spaced, [found], layer=1) != [None]


def test_a_mask_that_a_sentence_spells_is_a_word(explored: ExploredModel) -> None:
    sentence = "The IL-2 of [MASK] cells was low."
    start = sentence.index("MASK")
    one = Neighbour(1.0, "MASK", sentence, start, start + 4, "1", None)
    (span,) = attended(explored, [one], layer=1)
    assert span is not None
    assert span[1] != start


def test_what_cannot_be_searched(
    made: Index,
    explored: ExploredModel,
    padded_vocabulary: Path,
    tmp_path: Path,
) -> None:
    view = explored.view("a cell")
    for place in (-1, 0, 3, 99):
        with pytest.raises(InputError, match="no word stands at place"):
            neighbours(made, explored, view, place)
    with pytest.raises(InputError, match="neighbours must be from 1 to 1000, not 0"):
        neighbours(made, explored, view, 1, count=0)
    other = ExploredModel(padded_vocabulary)
    with pytest.raises(InputError, match="was made with another model"):
        neighbours(made, other, other.view("a"), 1)


def test_summaries(made: Index, explored: ExploredModel, tmp_path: Path) -> None:
    view = explored.view(made.sentence(1))
    found = neighbours(made, explored, view, 3, count=12)
    tagger = open_tagger(tuned_folder(tmp_path / "tags", HEADS["tags"]))
    said = tagged(found, tagger)
    counts = entity_types(matched(found), said)
    assert counts.total() == 12
    assert set(counts) <= {"none", "Disease", "Drug"}
    (expected,) = tagger.predict_texts([found[0].sentence])
    entities = expected["entities"]
    assert isinstance(entities, list)
    inside = [each["entity"] for each in entities if each["start"] < found[0].end and found[0].start < each["end"]]
    assert entity_types(matched(found[:1]), said) == {inside[0] if inside else "none": 1}
    words = attended(explored, found, layer=1, heads=[0, 2])
    assert attended(explored, found, layer=1, heads=[2, 0, 2, 2]) == words
    for one, span in zip(found, words, strict=True):
        assert span is not None
        text, start, end = span
        assert text == one.sentence
        assert start != one.start
        assert text[start:end].strip()
    assert entity_types(words, said).total() == 12
    assert (tagged([], tagger), attended(explored, [], layer=0)) == ({}, [])
    with pytest.raises(InputError, match="classifies texts and does not tag words"):
        open_tagger(tuned_folder(tmp_path / "text", HEADS["single"]))


@pytest.mark.parametrize(("layer", "heads", "sentence"), [(2, None, "2 layers; .* 2 is none"), (0, [1, 4], "4 heads")])
def test_what_the_model_does_not_have_attends_to_nothing(
    explored: ExploredModel, layer: int, heads: list[int] | None, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        attended(explored, [], layer=layer, heads=heads)


def test_a_sentence_is_read_once(made: Index, explored: ExploredModel, monkeypatch: pytest.MonkeyPatch) -> None:
    view = explored.view(made.sentence(1))
    found = neighbours(made, explored, view, 3, count=30)
    sentences = {one.sentence for one in found}
    assert len(sentences) < 30
    real, read = ExploredModel.attention, []

    def noted(model: ExploredModel, text: str, layer: int) -> tuple[Row, NDArray[np.float32]]:
        read.append(text)
        return real(model, text, layer)

    monkeypatch.setattr(ExploredModel, "attention", noted)
    words = attended(explored, found, layer=0)
    assert sorted(read) == sorted(sentences)
    assert [attended(explored, [one], layer=0)[0] for one in found] == words


def test_attended_words_are_those_with_most_attention(made: Index, explored: ExploredModel) -> None:
    view = explored.view(made.sentence(1))
    found = neighbours(made, explored, view, 3, count=1)
    (span,) = attended(explored, found, layer=0)
    assert span is not None
    theirs = explored.view(found[0].sentence)
    sums = theirs.attentions[0].sum(axis=0)
    words = list(theirs.row.words().values())
    own = next(word for word in words if theirs.row.tokens[word[0]].start == found[0].start)
    totals = {
        word[0]: sums[np.ix_(own, word)].sum()
        for word in words
        if word != own and any(theirs.row.tokens[place].piece.strip("#").isalnum() for place in word)
    }
    assert theirs.row.tokens[max(totals, key=totals.__getitem__)].start == span[1]


@pytest.mark.parametrize(
    ("sentence", "word", "attended_to"), [("kinase (.): ;", "kinase", None), ("-- kinase, p53 ...", "kinase", "p53")]
)
def test_punctuation_is_no_news(explored: ExploredModel, sentence: str, word: str, attended_to: str | None) -> None:
    start = sentence.index(word)
    one = Neighbour(1.0, word, sentence, start, start + len(word), "1", None)
    (span,) = attended(explored, [one], layer=0)
    assert (span and sentence[span[1] : span[2]]) == attended_to


def test_so_many_word_pieces_are_read(made: Index, explored: ExploredModel) -> None:
    found = neighbours(made, explored, explored.view(made.sentence(1)), 3, count=30)
    lengths = [len(explored.tokenizer.encode(one.sentence)) for one in found]
    fresh = [one.sentence not in {before.sentence for before in found[:number]} for number, one in enumerate(found)]
    costs = np.cumsum(np.where(fresh, lengths, 0))
    assert readable(explored, found, int(costs[-1])) == 30
    assert readable(explored, found, int(costs[9])) == int((costs <= costs[9]).sum())
    assert readable(explored, found, lengths[0] - 1) == 0
    assert readable(explored, [], 0) == 0
