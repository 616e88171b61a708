"""Rollout by its definition, and occlusion by asking fill-mask and predict of texts with words hidden."""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import pytest

from pubmedbert.errors import InputError
from pubmedbert.explore.occlusion import occlude
from pubmedbert.explore.rollout import rollout
from pubmedbert.explore.view import ExploredModel
from pubmedbert.infer.masks.fill_mask import FillMask
from tests.explore.conftest import SENTENCE
from tests.infer.minilm import MINILM
from tests.infer.tuned_folders import HEADS, tuned_folder


def test_rollout() -> None:
    attentions = np.random.default_rng(0).dirichlet(np.ones(5), (3, 2, 5)).astype(np.float32)
    rolled = rollout(attentions)
    expected = np.eye(5)
    for layer in range(3):
        mixed = 0.5 * attentions[layer].mean(axis=0) + 0.5 * np.eye(5)
        expected = mixed @ expected
        assert np.abs(rolled[layer] - expected).max() < 1e-6
    assert np.abs(rolled.sum(axis=-1) - 1).max() < 1e-6


def test_occlusion_of_a_mask_is_what_fill_mask_says(padded_vocabulary: Path) -> None:
    model, fill = ExploredModel(padded_vocabulary), FillMask(padded_vocabulary, precision="fp32")
    text = "the tyrosine [MASK] inhibitor imatinib"
    row, _ = model.read(text)
    done: list[int] = []
    found = occlude(model, row, place=3, answer="is", advance=done.append)
    assert found.answer == "is"
    assert found.places == [[1], [2], [3], [4], [5]]
    assert sum(done) == 4  # the mask itself has nothing to hide

    words = text.split()
    before = log(fill.fill([text], targets=["is"])[0][0][0]["score"])
    assert found.before == pytest.approx(before, abs=1e-4)
    for unit, place in ((0, 0), (1, 1), (3, 3), (4, 4)):
        hidden = " ".join("[MASK]" if number == place else word for number, word in enumerate(words))
        which = 1 if place < 2 else 0  # of the two masks, the one that is asked for
        after = log(fill.fill([hidden], targets=["is"])[0][which][0]["score"])
        assert found.changes[unit] == pytest.approx(after - before, abs=1e-4)
    assert found.changes[2] == 0


def test_whole_words_and_pieces(explored: ExploredModel) -> None:
    row, _ = explored.read(SENTENCE, "Another sentence.", masks=[3])
    words, pieces = (occlude(explored, row, place=5, words=whole) for whole in (True, False))
    assert words.answer == pieces.answer
    assert words.before == pieces.before
    assert len(words.places) == len(row.words()) < len(pieces.places) == sum(not token.special for token in row.tokens)
    alone = [unit for unit in words.places if len(unit) == 1]
    for unit in alone:
        change = pieces.changes[pieces.places.index(unit)]
        assert words.changes[words.places.index(unit)] == pytest.approx(change, abs=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_occlusion_of_labels(name: str, tmp_path: Path) -> None:
    model = ExploredModel(tuned_folder(tmp_path / name, HEADS[name]))
    row, _ = model.read(SENTENCE)
    place = 4 if name == "tags" else None
    found = occlude(model, row, place=place)
    assert found.answer in HEADS[name].labels
    assert np.count_nonzero(found.changes) > len(found.changes) / 2
    first = found.places[0]
    hidden = row.ids(model.tokenizer.mask_id, first)
    assert model.tuned is not None
    logits = model.tuned.logits(row, [row.ids(model.tokenizer.mask_id), hidden])
    if name == "tags":
        logits = [each[list(row.words()).index(row.tokens[4].word)] for each in logits]
    label = HEADS[name].labels.index(found.answer)
    before, after = (model.tuned.log_shares(each)[label] for each in logits)
    assert found.before == pytest.approx(before, abs=1e-5)
    assert found.changes[0] == pytest.approx(after - before, abs=1e-5)
    with pytest.raises(InputError, match="'nothing' is no label of this model; it has"):
        occlude(model, row, place=place, answer="nothing")


def test_what_cannot_be_followed(explored: ExploredModel) -> None:
    row, _ = explored.read("a cell")
    for place in (None, 0, 3, 99, -1):
        with pytest.raises(InputError, match="follows the answer at the place of a word"):
            occlude(explored, row, place=place)
    with pytest.raises(InputError, match="'xyzzyx' is no word piece"):
        occlude(explored, row, place=1, answer="xyzzyx")
    bare = ExploredModel(MINILM)
    with pytest.raises(InputError, match="has no head"):
        occlude(bare, bare.read("a cell")[0], place=1)
