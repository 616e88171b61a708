"""Words of several pieces, and several masks filled together."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from math import exp
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pubmedbert.errors import InputError
from pubmedbert.infer.masks.decode import ORDERS, Order
from pubmedbert.infer.masks.fill_mask import FillMask
from pubmedbert.infer.masks.masked_text import TextError
from pubmedbert.vocab.folder import build, save
from tests.infer.conftest import WORDS
from tests.infer.test_fill_mask import ours
from tests.infer.test_pseudo_likelihood import log_probability
from tests.model.reference import load_theirs

TEXT = "The [MASK] is a [MASK]  kinase."


@pytest.mark.parametrize("order", ORDERS)
def test_the_score_is_the_chain_rule_along_the_order(padded_vocabulary: Path, order: Order) -> None:
    model = load_theirs(padded_vocabulary)
    row = ["[CLS]", "the", "[MASK]", "is", "a", "[MASK]", "kinase", ".", "[SEP]"]
    places = [2, 5]
    if order == "best-first":
        firsts = [piece for piece in WORDS[5:] if not piece.startswith("##")]
        places.sort(key=lambda place: -max(log_probability(model, row, place, piece) for piece in firsts))
    (fillings,) = ours(padded_vocabulary).fill_jointly([TEXT], order=order, top_k=3)
    for filling in fillings:
        words = dict(zip([2, 5], filling["words"], strict=True))
        filled = list(row)
        total = 0.0
        for place in places:
            log = log_probability(model, filled, place, words[place]["token_str"])
            assert words[place]["log_probability"] == pytest.approx(log, rel=1e-3)
            filled[place] = words[place]["token_str"]
            total += log
        assert filling["score"] == pytest.approx(exp(total), rel=1e-3)
        first, second = (word["token_str"] for word in filling["words"])
        assert filling["text"] == f"The {first} is a {second}  kinase."
        assert filling["sequence"] == " ".join(filled[1:-2]) + "."
        assert [TEXT[word["start"] : word["end"]] for word in filling["words"]] == ["[MASK]"] * 2


def test_one_mask_alone_is_filled_as_ever(padded_vocabulary: Path) -> None:
    fill = ours(padded_vocabulary)
    every: Any = fill("the [MASK] is a", top_k=19)
    words = [answer for answer in every if not re.match(r"##|\[", answer["token_str"])]
    (joint,) = fill.fill_jointly(["the [MASK] is a"], top_k=19)
    assert [filling["words"][0]["token_str"] for filling in joint] == [answer["token_str"] for answer in words]
    assert [filling["score"] for filling in joint] == pytest.approx([answer["score"] for answer in words], rel=1e-4)
    (searched,) = fill.fill(["the [MASK] is a"], top_k=19, pieces=1)[0]
    assert [answer["token"] for answer in searched] == [answer["token"] for answer in words]


@pytest.mark.parametrize("text", ["the [MASK] is a", "[MASK] is [MASK]"])
def test_a_word_that_is_found_has_the_score_of_a_target(padded_vocabulary: Path, text: str) -> None:
    fill = ours(padded_vocabulary)
    for mask, answers in enumerate(fill.fill([text], pieces=3, top_k=60, beam=60)[0]):
        assert {answer["pieces"] for answer in answers} == {1, 2, 3}
        targets = [answer["token_str"] for answer in answers]
        assert len(set(targets)) == len(targets)
        scored = {
            answer["token_str"]: answer["score"] for answer in fill.fill([text], targets=targets, top_k=19)[0][mask]
        }
        assert len(scored) == 19
        for answer in answers[:19]:
            assert answer["score"] == pytest.approx(scored[answer["token_str"]], rel=1e-3)
            assert answer["score"] == pytest.approx(exp(answer["log_probability"] / answer["pieces"]))


def test_words_are_spelled_as_text_is_cut(large_vocabulary: Path) -> None:
    fill = ours(large_vocabulary)
    (answers,) = fill.fill(["the drug [MASK] is given."], pieces=2, top_k=20)[0]
    assert len(answers) == 20
    for answer in answers:
        assert fill._tokenizer.encode(answer["token_str"])[1:-1] == answer["tokens"]
        assert fill._tokenizer.encode(answer["text"])[3:-4] == answer["tokens"]


def test_a_mask_that_touches_a_word_continues_it(padded_vocabulary: Path) -> None:
    fill = ours(padded_vocabulary)
    for text, glued in [
        ("b[MASK] is", [True]),
        ("[MASK][MASK] is", [False, True]),
        ("b [MASK] is, ([MASK])", [False] * 2),
        ("a\u0301[MASK] b-[MASK]", [True, False]),  # an accent is part of its letter
        ("药[MASK] [MASK]药", [False, False]),  # a Chinese character is a word by itself
    ]:
        for filling in fill.fill_jointly([text])[0]:
            assert [word["token_str"].startswith("##") for word in filling["words"]] == glued
            words = [word["token_str"].removeprefix("##") for word in filling["words"]]
            assert filling["text"] == text.replace("[MASK]", "{}").format(*words)


def test_what_masks_make_together_is_spelled_as_text_is_cut(padded_vocabulary: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(padded_vocabulary, tmp_path / "model"))
    save(build([*WORDS, "ima", "##tinib", "bc"]), folder / "words")
    for path in (folder / "words").iterdir():
        path.replace(folder / path.name)
    fill = FillMask(folder, precision="fp32")
    tokenizer = fill._tokenizer
    for text in ("[MASK][MASK] is", "b[MASK] is", "ima[MASK][MASK] a"):
        for order in ORDERS:
            (fillings,) = fill.fill_jointly([text], top_k=400, beam=400, order=order, pieces=2)
            rows = [tokenizer.encode(filling["text"]) for filling in fillings]
            assert len(fillings) > 3
            assert len({tuple(row) for row in rows}) == len(rows)  # each filling once, in whatever parts
            for filling, row in zip(fillings, rows, strict=True):
                pieces = [piece for word in filling["words"] for piece in word["tokens"]]
                assert any(row[at : at + len(pieces)] == pieces for at in range(len(row)))
            assert "imatinib is" not in {one["text"] for one in fillings if len(one["words"][0]["tokens"]) == 1}
    assert all("##" in answer["token_str"] for answer in fill.fill(["[MASK][MASK]"], pieces=1)[0][1])
    assert fill.fill_jointly(["药☃[MASK] is"])[0][0]["words"][0]["token_str"].startswith("##")  # what is unknown


def test_a_word_that_does_not_continue_what_it_touches_stands_apart(padded_vocabulary: Path) -> None:
    fill = ours(padded_vocabulary)
    targets = ["a", "##b", ".", "bcb"]
    texts = {"a": "imatinib a is", "##b": "imatinibb is", ".": "imatinib. is", "bcb": "imatinib bcb is"}
    found = fill.fill(["imatinib[MASK] is"], targets=targets)[0][0]
    assert len(found) == 4
    for answer in found:
        assert answer["text"] == texts[answer["token_str"]]
        assert fill._tokenizer.encode(answer["text"])[2:-2] == answer["tokens"]
    (fillings,) = fill.fill_jointly(["imatinib[MASK] is"], targets=targets[:3])
    assert {one["text"] for one in fillings} == {texts[target] for target in targets[:3]}


def test_joint_targets(padded_vocabulary: Path) -> None:
    (fillings,) = ours(padded_vocabulary).fill_jointly([TEXT], targets=["bcb", "kinase", "bc"], top_k=20)
    words = [tuple(word["token_str"] for word in filling["words"]) for filling in fillings]
    assert len(words) == 9
    assert set(words) == {(one, other) for one in ("bcb", "kinase", "bc") for other in ("bcb", "kinase", "bc")}
    assert [filling["score"] for filling in fillings] == sorted((one["score"] for one in fillings), reverse=True)


@settings(max_examples=30)
@given(
    st.lists(
        st.sampled_from(["[MASK]", " ", "é", "İ", "ﬁ", "药", "😀", "a\u0301", "\x00", "x", "##b", "[mask]"]), max_size=9
    )
)
def test_offsets_are_those_of_the_text_that_was_given(large_vocabulary: Path, parts: Sequence[str]) -> None:
    text = "".join([*parts, "[MASK]"])
    spans = [match.span() for match in re.finditer(r"\[MASK\]", text)]
    masks = ours(large_vocabulary).fill([text], top_k=2)[0]
    assert [[(answer["start"], answer["end"]) for answer in answers] for answers in masks] == [
        [span] * 2 for span in spans
    ]


def test_company_changes_nothing(padded_vocabulary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill = ours(padded_vocabulary)
    texts = ["a [MASK] b [MASK]", "[MASK]", TEXT, "the [MASK][MASK] is"]
    alone = [fill.fill_jointly([text], pieces=2)[0] for text in texts]
    monkeypatch.setattr("pubmedbert.infer.masks.packs.PACK_TOKENS", 40)
    for found, expected in zip(fill.fill_jointly(texts, pieces=2), alone, strict=True):
        assert [one["text"] for one in found] == [one["text"] for one in expected]
        assert [one["score"] for one in found] == pytest.approx([one["score"] for one in expected], rel=1e-4)
    assert fill.fill_jointly([]) == []


@pytest.mark.parametrize("targets", ["[SEP]", ["a", "[SEP]"]])
def test_special_tokens_are_no_joint_targets(padded_vocabulary: Path, targets: Any) -> None:
    with pytest.raises(InputError, match=r"the target \[SEP\] is no word and is never filled in together with others"):
        ours(padded_vocabulary).fill_jointly([TEXT], targets=targets)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"pieces": 0}, "pieces must be from 1 to 16, not 0"),
        ({"beam": 0}, "beam must be from 1 to 1000, not 0"),
        ({"top_k": 1001}, r"top_k must be from 1 to 1000 \(the widest beam\)"),
        ({"order": "random"}, "order must be one of left-to-right, best-first, not 'random'"),
        ({"targets": ["a"], "pieces": 2}, "leave either targets or pieces out"),
        (
            {"pieces": 9},
            "9 different lengths for the 2 masks of the text 'a .* make 81 combinations, and at most 64 are tried",
        ),
    ],
)
def test_options_that_make_no_sense(padded_vocabulary: Path, options: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        ours(padded_vocabulary).fill_jointly(["a [MASK] b [MASK]"], **options)


def test_options_of_one_mask_that_make_no_sense(padded_vocabulary: Path) -> None:
    fill = ours(padded_vocabulary)
    with pytest.raises(InputError, match="scoring must be one of word-l2r, original, l2r, not 'pll'"):
        fill.fill(["[MASK]"], scoring="pll")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="leave either targets or pieces out"):
        fill.fill(["[MASK]"], targets=["a"], pieces=1)
    with pytest.raises(
        TextError, match=r"too long: 66 word pieces with \[CLS\] and \[SEP\], 2 in place of each mask"
    ) as caught:
        fill.fill_jointly(["[MASK]", "[MASK] [MASK]" + " a" * 60], pieces=2)
    assert caught.value.index == 1


def test_the_text_at_fault_is_named(padded_vocabulary: Path) -> None:
    with pytest.raises(TextError) as caught:
        FillMask(padded_vocabulary).fill(["[MASK]", "[MASK]", "no mask", "\ud800"])
    assert caught.value.index == 2
