"""What is shown is what the model computes: as in transformers, as fill-mask predicts, as the predictor labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import BertTokenizerFast

from pubmedbert.errors import FaultError, InputError
from pubmedbert.explore import rows
from pubmedbert.explore.occlusion import occlude
from pubmedbert.explore.rows import Token
from pubmedbert.explore.view import ExploredModel
from pubmedbert.infer.engine import Encoder, open_encoder
from pubmedbert.infer.labels import tuned
from pubmedbert.infer.labels.predict import Predictor
from pubmedbert.infer.masks.fill_mask import FillMask
from pubmedbert.model.head import Head
from tests.explore.conftest import SENTENCE
from tests.infer.minilm import MINILM
from tests.infer.tuned_folders import HEADS, tuned_folder
from tests.model.reference import load_theirs

CASES = [
    (SENTENCE, None, ()),
    (SENTENCE, None, (4, 17)),
    ("Is aspirin effective?", "It inhibited naïve platelets.", ()),
    ("Is aspirin effective?", "It inhibited naïve platelets.", (2, 8)),
    ("", None, ()),
]


@pytest.mark.parametrize(("text", "text_b", "masks"), CASES)
def test_everything_equals_transformers(
    explored: ExploredModel, text: str, text_b: str | None, masks: tuple[int, ...]
) -> None:
    view = explored.view(text, text_b, masks=masks)
    tokenizer = BertTokenizerFast.from_pretrained(explored.folder)
    given = tokenizer(text, text_b, return_tensors="pt")
    for place in masks:
        given["input_ids"][0, place] = tokenizer.mask_token_id
    model = load_theirs(explored.folder)
    model.set_attn_implementation("eager")
    mixed: list[torch.Tensor] = []
    for layer in model.bert.encoder.layer:
        layer.attention.output.dense.register_forward_pre_hook(lambda _, inputs: mixed.append(inputs[0]))
    with torch.inference_mode():
        theirs = model(**given, output_attentions=True, output_hidden_states=True)
    assert view.row.ids(tokenizer.mask_token_id) == given["input_ids"][0].tolist()
    assert np.abs(view.attentions - torch.cat(theirs.attentions).numpy()).max() < 1e-4
    assert np.abs(view.hidden - torch.cat(theirs.hidden_states).numpy()).max() < 1e-4
    assert np.abs(view.heads - torch.cat(mixed).numpy()).max() < 1e-4
    shares, pieces = theirs.logits[0].softmax(-1).topk(5)
    assert view.guesses is not None
    for place, guesses in enumerate(view.guesses):
        assert [guess.id for guess in guesses] == pieces[place].tolist()
        assert np.abs(np.array([guess.probability for guess in guesses]) - shares[place].numpy()).max() < 1e-4
    assert (view.says, view.notices, view.row.masks) == (None, (), masks)


def test_pieces_know_their_characters_and_words(explored: ExploredModel) -> None:
    texts = ("Naïve β-cells, [MASK].", "NSCLC treatment")
    row, _ = explored.read(*texts, masks=[1])
    found = [(token.piece, texts[token.text][token.start : token.end], token.word) for token in row.tokens]
    assert found[:5] == [("[CLS]", "", -1), ("naive", "Naïve", 0), ("β", "β", 1), ("-", "-", 2), ("cells", "cells", 3)]
    assert ("[MASK]", "[MASK]", 5) in found
    assert [token.special for token in row.tokens].count(True) == 3
    assert row.tokens[row.second - 1].piece == "[SEP]"
    assert row.tokens[row.second].text == 1
    assert row.tokens[1].masked
    assert row.tokens[1].piece == "naive"
    words = row.words()
    assert list(words) == list(range(len(words)))
    (nsclc, _) = [places for places in words.values() if row.tokens[places[0]].text]
    assert "".join(row.tokens[place].piece.removeprefix("##") for place in nsclc) == "nsclc"


def test_predictions_equal_fill_mask(padded_vocabulary: Path) -> None:
    model, fill = ExploredModel(padded_vocabulary), FillMask(padded_vocabulary, precision="fp32")
    view = model.view("the tyrosine kinase inhibitor imatinib.", masks=[2, 5])
    (masks,) = fill.fill(["the [MASK] kinase inhibitor [MASK]."])
    assert view.guesses is not None
    for place, answers in zip((2, 5), masks, strict=True):
        assert [guess.id for guess in view.guesses[place]] == [answer["token"] for answer in answers]
        assert [guess.probability for guess in view.guesses[place]] == pytest.approx(
            [answer["score"] for answer in answers], abs=1e-5
        )
    spelled = model.view("the [MASK] kinase inhibitor [MASK].")
    assert np.array_equal(spelled.attentions, view.attentions)


def test_what_cannot_be_done_is_said(padded_vocabulary: Path) -> None:
    model = ExploredModel(padded_vocabulary, longest=9)
    view = model.view("a b c a b c a b c", masks=[0, 3, 8, 99, -1])
    assert view.attentions.shape == (2, 4, 9, 9)
    assert view.row.masks == (3,)
    assert view.notices == (
        "only the first 7 of 9 word pieces are shown",
        "no word stands at places -1, 0, 8, 99, which cannot be masked",
    )
    row, notices = model.read("a b c a b", "the kinase is a b")
    assert [token.piece for token in row.tokens] == ["[CLS]", "a", "b", "c", "[SEP]", "the", "kinase", "is", "[SEP]"]
    assert notices == ["only the first 6 of 10 word pieces are shown"]
    with pytest.raises(InputError, match="not valid Unicode"):
        model.view("\ud800")
    with pytest.raises(InputError, match="the longest row must be at least 8 word pieces, not 7"):
        ExploredModel(padded_vocabulary, longest=7)


def test_what_is_left_out_costs_nothing(padded_vocabulary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = ExploredModel(padded_vocabulary, longest=12), []

    def noted(*fields: Any, **more: Any) -> Token:
        made.append(fields)
        return Token(*fields, **more)

    monkeypatch.setattr(rows, "Token", noted)
    row, notices = model.read("a, b " * 40_000, "c " * 7)
    assert len(made) == 11  # [CLS] and [SEP] among them
    assert notices == ["only the first 9 of 120007 word pieces are shown"]
    assert [token.text for token in row.tokens] == [0] * 6 + [1] * 6
    assert list(row.words()) == list(range(9))
    alone, _ = model.read("a, b " * 40_000)
    short, _ = model.read("a, b a, b a, b a,")
    assert alone.tokens[:-1] == short.tokens[:11]


def test_a_layer_alone(explored: ExploredModel) -> None:
    view = explored.view(SENTENCE)
    for layer, maps in enumerate(view.attentions):
        row, same = explored.attention(SENTENCE, layer)
        assert row == view.row
        assert np.array_equal(same, maps)


def test_labels_take_no_second_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def noted(folder: Path, **options: Any) -> Encoder:
        opened.append(folder)
        return open_encoder(folder, **options)

    monkeypatch.setattr(tuned, "open_encoder", noted)
    model = ExploredModel(tuned_folder(tmp_path / "tags", HEADS["tags"]))
    assert model.view(SENTENCE).says is not None
    assert model.view("").says == {"entities": []}
    assert opened == []
    occlude(model, model.read("a cell")[0], place=1)
    assert opened == [model.folder]


def test_rows_are_cut_to_a_number_of_numbers(padded_vocabulary: Path) -> None:
    model = ExploredModel(padded_vocabulary, numbers=2 * 4 * 11 * 11 + 1)
    assert model.longest == 11
    view = model.view("a b c a b c a b c a b c")
    assert view.attentions.shape == (2, 4, 11, 11)
    assert view.notices == ("only the first 9 of 12 word pieces are shown",)
    assert ExploredModel(padded_vocabulary, numbers=1).longest == 8
    assert ExploredModel(padded_vocabulary, numbers=1 << 25).longest == 64


def test_an_encoder_without_a_head() -> None:
    view = ExploredModel(MINILM).view("a cell")
    assert (view.guesses, view.says) == (None, None)
    assert view.attentions.shape == (6, 12, 4, 4)


@pytest.mark.parametrize("name", HEADS)
def test_labels_equal_the_predictor(name: str, tmp_path: Path) -> None:
    folder = tuned_folder(tmp_path / name, HEADS[name])
    model, predictor = ExploredModel(folder), Predictor(folder)
    (expected,) = predictor.predict_texts([SENTENCE])
    said = model.view(SENTENCE).says
    assert said is not None
    if name == "tags":
        entities, others = said["entities"], expected["entities"]
        assert isinstance(entities, list)
        assert isinstance(others, list)
        tokens = model.read(SENTENCE)[0].tokens
        for mine, other in zip(entities, others, strict=True):
            assert tokens[mine["places"][0]].start == mine["start"]
            assert {key: mine[key] for key in other} == other | {"score": pytest.approx(other["score"], abs=1e-6)}
    else:
        assert said.keys() == expected.keys()
        for key, value in expected.items():
            assert said[key] == (value if isinstance(value, str | list) else pytest.approx(value, abs=1e-6))
    assert model.view(SENTENCE, masks=[4]).says != said
    assert model.view("a [SEP] b").row.tokens[2].piece == "["
    if name == "tags":
        with pytest.raises(InputError, match="reads one text at a time"):
            model.view("a", "b")
    else:
        (pair,) = predictor.predict_texts([("It grows.", "He sleeps.")])
        assert model.view("It grows.", "He sleeps.").says == {
            key: value if isinstance(value, str | list) else pytest.approx(value, abs=1e-6)
            for key, value in pair.items()
        }


def test_words_and_classes_are_those_of_the_predictor(tmp_path: Path) -> None:
    text = "IL-2 and TNF-alpha of BCR-ABL/kinase-positive (CML) patients were low."
    classes = Head(level="tokens", labels=("O", "NOUN", "VERB"))
    for name, head, extra in (("spaces", HEADS["tags"], {"words": "spaces"}), ("classes", classes, {"task": "words"})):
        folder = tuned_folder(tmp_path / name, head, **extra)
        expected: Any = Predictor(folder).predict_texts([text])[0]
        said: Any = ExploredModel(folder).view(text).says
        found = [{key: one[key] for key in ("entity", "start", "end", "text")} for one in said["entities"]]
        assert found == [{key: one[key] for key in ("entity", "start", "end", "text")} for one in expected["entities"]]
        assert found
    model = ExploredModel(tmp_path / "spaces")
    row, _ = model.read(text)
    assert [text[row.tokens[word[0]].start : row.tokens[word[-1]].end] for word in row.words().values()][:4] == [
        "IL-2",
        "and",
        "TNF-alpha",
        "of",
    ]
    assert occlude(model, row, place=3).places[0] == row.words()[0]


def test_a_model_replaced_in_place_is_not_mixed_with_what_was_read_of_it(tmp_path: Path) -> None:
    folder = tuned_folder(tmp_path / "model", HEADS["tags"])
    model, labels = ExploredModel(folder), tuned.TunedModel(folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(FaultError, match="was replaced after it was opened"):
        model.view(SENTENCE)
    with pytest.raises(FaultError, match="was replaced after it was opened"):
        labels.encoder  # noqa: B018  # opened when it is asked for


def test_a_model_that_has_gone_is_a_fault_and_its_tokenizer_stays(tmp_path: Path) -> None:
    folder = tuned_folder(tmp_path / "model", HEADS["tags"])
    model = ExploredModel(folder)
    expected = ExploredModel(folder).read(SENTENCE)
    folder.rename(tmp_path / "gone")
    assert model.read(SENTENCE) == expected
    with pytest.raises(FaultError):
        model.view(SENTENCE)
    with pytest.raises(FaultError):
        occlude(model, model.read("a cell")[0], place=1)


def test_a_model_of_one_segment_takes_no_pair(explored: ExploredModel, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(explored.folder, tmp_path / "one"))
    weights = load_file(folder / "model.safetensors")
    name = "bert.embeddings.token_type_embeddings.weight"
    save_file(weights | {name: weights[name][:1].copy()}, folder / "model.safetensors", {"format": "pt"})
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"type_vocab_size": 1}))
    model = ExploredModel(folder)
    assert model.view("a cell").row.second == 4
    with pytest.raises(InputError, match="reads one text at a time"):
        model.view("a", "b")
