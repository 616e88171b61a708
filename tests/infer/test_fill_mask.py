"""FillMask answers what transformers' fill-mask pipeline answers."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import pipeline

import pubmedbert
from pubmedbert.errors import InputError
from pubmedbert.infer.masks import packs as module
from pubmedbert.infer.masks.fill_mask import FillMask
from pubmedbert.model import hf
from tests.infer.conftest import outspoken
from tests.infer.minilm import TOKENIZER_FILES

TEXTS = [
    "[MASK] is a tyrosine kinase inhibitor.",
    "Don't STOP, please: the (IL-2) [MASK]'s 5' - 3' end, isn't it?",
    "café NAÏVE ﬁne 药物 β-blocker\t[MASK]\n 😀 100% !",
    "x[MASK]y",
    "[MASK][MASK] and [MASK].",
    "the [SEP] of [PAD] [PAD] [MASK] [UNK] [CLS]",
    "[MASK]",
]


@cache
def ours(folder: Path) -> FillMask:
    return FillMask(folder)


@cache
def theirs(folder: Path) -> Any:
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        return pipeline("fill-mask", model=str(folder), device="cpu")


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
        return
    assert list(found) == list(expected) == ["score", "token", "token_str", "sequence"]
    assert [type(value) for value in found.values()] == [float, int, str, str]
    assert found | {"score": 0} == expected | {"score": 0}
    assert found["score"] == pytest.approx(expected["score"], rel=1e-4)


@pytest.mark.parametrize("text", TEXTS)
def test_one_text(large_vocabulary: Path, text: str) -> None:
    assert_same(ours(large_vocabulary)(text), theirs(large_vocabulary)(text))
    assert_same(ours(large_vocabulary)(text, top_k=50), theirs(large_vocabulary)(text, top_k=50))


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:2], TEXTS[:1], TEXTS[4:5]])
def test_several_texts(large_vocabulary: Path, texts: list[str]) -> None:
    assert_same(ours(large_vocabulary)(texts), theirs(large_vocabulary)(texts))


@pytest.mark.parametrize(
    "targets",
    [
        ["imatinib"],
        ["kinase", "is", "##mab", "."],
        ["Kinase", "KINASE", "kinase", "  kinase "],
        ["[SEP]", "[PAD]", "b"],
    ],
)
@pytest.mark.parametrize("text", ["[MASK] is a kinase inhibitor.", "[MASK] is b [MASK]"])
def test_targets(padded_vocabulary: Path, text: str, targets: list[str]) -> None:
    expected = theirs(padded_vocabulary)(text, targets=targets)
    assert_same(ours(padded_vocabulary)(text, targets=targets), expected)


def test_a_target_may_be_a_plain_string(padded_vocabulary: Path) -> None:
    fill = ours(padded_vocabulary)
    assert fill("a [MASK]", targets="imatinib") == fill("a [MASK]", targets=["imatinib"])


def test_the_form_goes_by_what_is_asked(padded_vocabulary: Path) -> None:
    fill = ours(padded_vocabulary)
    plain = ["score", "token", "token_str", "sequence"]
    asked: list[tuple[dict[str, Any], bool]] = [
        ({"pieces": 3}, True),
        ({"pieces": 1}, True),
        ({"targets": ["a", "bcb"]}, True),
        ({"targets": "a"}, False),
        ({}, False),
    ]
    for options, several in asked:
        for top_k in (1, 3):
            answers: Any = fill("the [MASK] is a", top_k=top_k, **options)
            assert {tuple(one) for one in answers} == {(*plain, *(["tokens", "log_probability"] if several else []))}


@pytest.mark.parametrize("side", ["lstrip", "rstrip"])
def test_blanks_beside_a_mask_stay_where_they_are(padded_vocabulary: Path, tmp_path: Path, side: str) -> None:
    folder = Path(shutil.copytree(padded_vocabulary, tmp_path / "model"))
    values = json.loads((folder / "tokenizer.json").read_text())
    (mask,) = (token for token in values["added_tokens"] if token["content"] == "[MASK]")
    mask[side] = True
    (folder / "tokenizer.json").write_text(json.dumps(values))
    fill = FillMask(folder, precision="fp32")
    (answer,) = fill.fill(["the  [MASK]  is a"], top_k=1, targets=["kinase"])[0][0]
    assert (answer["text"], answer["start"], answer["end"]) == ("the  kinase  is a", 5, 11)


def test_fewer_targets_than_asked_for(padded_vocabulary: Path) -> None:
    assert len(ours(padded_vocabulary)("a [MASK]", top_k=4, targets=["a", "b", "a"])) == 2


@settings(max_examples=40)
@given(
    parts=st.lists(st.text(max_size=12) | st.sampled_from(["[MASK]", "##", " n't ", " ' ", "[SEP]"]), max_size=6),
    cut=st.integers(0, 6),
)
def test_any_text(large_vocabulary: Path, parts: list[str], cut: int) -> None:
    text = "".join([*parts[:cut], "[MASK]", *parts[cut:]])
    assert_same(ours(large_vocabulary)(text, top_k=3), theirs(large_vocabulary)(text, top_k=3))


@pytest.mark.parametrize("tidy", [True, False])
def test_spaces_as_tokenizer_config_asks(large_vocabulary: Path, tmp_path: Path, tidy: bool) -> None:
    folder = tmp_path / "model"
    shutil.copytree(large_vocabulary, folder)
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"clean_up_tokenization_spaces": tidy}))
    text = "5 ' - 3 ' of [MASK] , we 've n't 's . x"
    assert_same(FillMask(folder)(text), theirs(folder)(text))


def test_a_vocabulary_file_alone_as_pubmedbert_is_published(large_vocabulary: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(large_vocabulary, folder)
    for name in ("tokenizer.json", "special_tokens_map.json"):
        (folder / name).unlink()
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    for text in TEXTS[:5]:
        found = FillMask(folder)(text)
        assert_same(found, ours(large_vocabulary)(text))
        assert_same(found, theirs(folder)(text))


def test_ids_without_a_piece_are_never_answered(padded_vocabulary: Path) -> None:
    fill = ours(padded_vocabulary)
    answers: Any = fill("the [MASK] is a", top_k=19)
    assert sorted(answer["token"] for answer in answers) == list(range(19))
    everything = theirs(padded_vocabulary)("the [MASK] is a", top_k=32)
    known = [answer for answer in everything if answer["token"] < 19]
    assert_same(answers, known)  # the scores, too: unknown ids keep their share of the probability
    assert sum(answer["score"] for answer in answers) < 0.999
    with pytest.raises(InputError, match=r"top_k must be from 1 to 19"):
        fill("the [MASK] is a", top_k=20)


def test_answers_do_not_depend_on_company(padded_vocabulary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"a {'b ' * (7 * n % 13)}[MASK] {'[MASK] ' * (n % 3)}" for n in range(40)]
    fill = FillMask(padded_vocabulary)
    alone = [fill(text) for text in texts]
    assert_same(fill(texts), alone)
    monkeypatch.setattr(module, "PACK_TOKENS", 30)
    assert_same(fill(texts), alone)
    monkeypatch.setattr(module, "PACK_TOKENS", 10_000)
    monkeypatch.setattr(module, "PACK_MASKS", 2)
    assert_same(fill(texts), alone)
    assert fill([]) == []


class Flat:
    """An engine for which all pieces are alike."""

    name, width, vocab_size, max_positions = "flat", 0, 32, 64

    def hidden(self, rows: Any, where: Any = None, seconds: Any = None) -> Any:
        raise NotImplementedError

    def logits(self, rows: Any, where: Any) -> Any:
        return np.full((sum(map(len, where)), 32), 1e4, dtype=np.float32)


def test_equal_scores_come_in_the_order_of_ids(padded_vocabulary: Path) -> None:
    answers: Any = FillMask(padded_vocabulary, engine=Flat())("a [MASK]", top_k=3)
    assert [answer["token"] for answer in answers] == [0, 1, 2]
    assert [answer["score"] for answer in answers] == pytest.approx([1 / 32] * 3)


def test_the_public_name(padded_vocabulary: Path) -> None:
    assert pubmedbert.FillMask is FillMask
    assert len(pubmedbert.FillMask(str(padded_vocabulary))("a [MASK]")) == 5


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("imatinib is a", r"'imatinib is a' has no \[MASK\]; write \[MASK\] in place of a word"),
        ("[mask] is a", r"has no \[MASK\]; write \[MASK\] for '\[mask\]'"),
        ("<mask> is a", r"write \[MASK\] for '<mask>'"),
        ("[ Mask ] is a", r"write \[MASK\] for '\[ Mask \]'"),
        ("", "the text '' is empty"),
        (" \n\t", "is empty"),
        ("a \ud800 [MASK]", "is not valid Unicode"),
        ("[MASK]" + " a" * 62, r"is too long: 65 word pieces with \[CLS\] and \[SEP\], the model reads at most 64"),
        ("b" * 500, r"'b{59}…' has no"),
    ],
)
def test_texts_that_cannot_be_filled(padded_vocabulary: Path, text: str, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        ours(padded_vocabulary)(["a [MASK]", text])
    assert "\n" not in str(caught.value)


def test_a_huge_text_is_not_cut_up(padded_vocabulary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill = ours(padded_vocabulary)
    assert len(fill(f"{' ' * 3000}[MASK]")) == 5
    monkeypatch.setattr(fill._tokenizer, "encode_with_offsets", None)
    with pytest.raises(InputError, match=r"'a a.*…' is too long: 4,106 characters, the model reads at most 64 word"):
        fill(f"{'a ' * 2050}[MASK]")


def test_the_longest_text_is_filled(padded_vocabulary: Path) -> None:
    assert len(ours(padded_vocabulary)("[MASK]" + " a" * 61)) == 5


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"top_k": 0}, "top_k must be from 1 to 19"),
        ({"top_k": -1}, "top_k must be from 1"),
        ({"targets": []}, "targets is empty"),
        ({"targets": ["☃"]}, "target '☃' is unknown"),
        ({"targets": [" "]}, "target ' ' is empty"),
        ({"targets": ["\udcff"]}, "is not valid Unicode"),
    ],
)
def test_options_that_make_no_sense(padded_vocabulary: Path, options: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        ours(padded_vocabulary)("a [MASK]", **options)


def test_tokenizers_that_do_not_fit(padded_vocabulary: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(padded_vocabulary, folder)
    hf.save(outspoken(18), folder)
    with pytest.raises(InputError, match="tokenizer has 19 entries, the model's vocabulary only 18"):
        FillMask(folder)
    for name in TOKENIZER_FILES:
        (folder / name).unlink()
    with pytest.raises(InputError, match=r"holds neither tokenizer\.json nor vocab\.txt"):
        FillMask(folder)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n")
    with pytest.raises(InputError, match=r"lacks \[MASK\]"):
        FillMask(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_of_no_numbers(padded_vocabulary: Path, tmp_path: Path, value: float) -> None:
    folder = tmp_path / "model"
    shutil.copytree(padded_vocabulary, folder)
    weights = load_file(folder / "model.safetensors")
    weights["bert.embeddings.LayerNorm.bias"][0] = value
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match="scores are no finite numbers: its weights are damaged"):
        FillMask(folder)("a [MASK]")
