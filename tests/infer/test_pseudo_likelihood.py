"""Targets of several pieces are scored as transformers' own model scores them, piece by piece."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pubmedbert.errors import InputError
from pubmedbert.infer.masks.fill_mask import FillMask
from pubmedbert.infer.masks.pseudo_likelihood import SCORINGS, Scoring
from tests.infer.conftest import WORDS
from tests.model.reference import load_theirs

TEXT = "the [MASK] is a [MASK] inhibitor."
ROW = ["[CLS]", "the", "[MASK]", "is", "a", "[MASK]", "inhibitor", ".", "[SEP]"]
TARGET = ["imatinib", "b", "##c", "##b"]
HIDDEN: dict[Scoring, list[set[int]]] = {
    "word-l2r": [{0}, {1, 2, 3}, {2, 3}, {3}],
    "original": [{0}, {1}, {2}, {3}],
    "l2r": [{0, 1, 2, 3}, {1, 2, 3}, {2, 3}, {3}],
}
"""What is masked while each piece of the target is scored."""


def log_probability(model: Any, row: list[str], place: int, piece: str) -> float:
    ids = torch.tensor([[WORDS.index(token) for token in row]])
    with torch.inference_mode():
        logs = model(input_ids=ids).logits[0, place].double().log_softmax(-1)
    return float(logs[WORDS.index(piece)])


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize(("mask", "place"), [(0, 2), (1, 5)])
def test_each_method_by_hand(padded_vocabulary: Path, scoring: Scoring, mask: int, place: int) -> None:
    model = load_theirs(padded_vocabulary)
    expected = 0.0
    for index, (piece, hidden) in enumerate(zip(TARGET, HIDDEN[scoring], strict=True)):
        shown = ["[MASK]" if other in hidden else token for other, token in enumerate(TARGET)]
        expected += log_probability(model, [*ROW[:place], *shown, *ROW[place + 1 :]], place + index, piece)
    targets = ["imatinib BCB", "kinase", "bc"]
    answers = FillMask(padded_vocabulary).fill([TEXT], targets=targets, scoring=scoring)[0][mask]
    assert len(answers) == 3
    assert [answer["score"] for answer in answers] == sorted((answer["score"] for answer in answers), reverse=True)
    found = {answer["token_str"]: answer for answer in answers}
    assert found["imatinib bcb"]["log_probability"] == pytest.approx(expected, rel=1e-4)
    assert found["imatinib bcb"]["score"] == pytest.approx(torch.tensor(expected / 4).exp().item(), rel=1e-4)
    assert found["imatinib bcb"]["pieces"] == 4
    one = log_probability(model, ROW, place, "kinase")
    assert found["kinase"]["log_probability"] == pytest.approx(one, rel=1e-4)


def test_company_changes_no_score(padded_vocabulary: Path) -> None:
    fill = FillMask(padded_vocabulary)
    alone = [fill.fill(["a [MASK]"], targets=[target])[0][0][0] for target in ("kinase", "bcb", "is bc a")]
    together = fill.fill(["[MASK] [MASK] b", "a [MASK]"], targets=["is bc a", "bcb", "kinase", "BCB"])[1][0]
    assert {answer["token_str"]: answer["score"] for answer in together} == pytest.approx(
        {answer["token_str"]: answer["score"] for answer in alone}, rel=1e-4
    )


@pytest.mark.parametrize(
    ("target", "match"),
    [
        ("a ☃ b", "'a ☃ b' is unknown to this model, which cannot read '☃'"),
        ("a [MASK]", r"'a \[MASK\]' holds \[MASK\], which is no word"),
        ("\n", "is empty; name a word"),
    ],
)
def test_targets_that_are_no_words(padded_vocabulary: Path, target: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        FillMask(padded_vocabulary).fill(["a [MASK]"], targets=[target])


def test_a_text_that_a_target_makes_too_long(padded_vocabulary: Path) -> None:
    text = "[MASK]" + " a" * 60
    fill = FillMask(padded_vocabulary)
    assert fill.fill([text], targets=["bc"])[0][0][0]["pieces"] == 2
    with pytest.raises(InputError, match=r"too long: 65 word pieces with \[CLS\] and \[SEP\], 3 in place of a mask"):
        fill.fill([text], targets=["bc", "bcb"])
