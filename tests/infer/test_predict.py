"""A fine-tuned model answers what transformers' pipelines answer, and the same in batches, windows and files."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import pipeline

from pubmedbert.errors import InputError
from pubmedbert.infer.labels.predict import Predictor
from pubmedbert.infer.labels.rows import RowEncoder, pack
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model.head import Head
from tests.infer.answers import TEXTS, same
from tests.infer.tuned_folders import HEADS, TAGS, tuned, tuned_folder
from tests.vocab.fakes import HOSTILE

Refused = Callable[..., str]

LONG = " ".join(TEXTS * 4)


def their_pipeline(task: str, folder: Path, **options: object) -> Any:
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        return pipeline(task, model=str(folder), device="cpu", **options)


def test_entities_are_those_of_transformers(folders: dict[str, Path]) -> None:
    theirs = their_pipeline("token-classification", folders["tags"], aggregation_strategy="first")
    found = Predictor(folders["tags"]).predict_texts(TEXTS[:2] + TEXTS[3:])
    expected = [
        {
            "entities": [
                {
                    "entity": entity["entity_group"],
                    "start": entity["start"],
                    "end": entity["end"],
                    "text": text[entity["start"] : entity["end"]],
                    "score": float(entity["score"]),
                }
                for entity in theirs(text)
            ]
        }
        for text in TEXTS[:2] + TEXTS[3:]
    ]
    assert same(found, expected)
    kinds = [entity["entity"] for answer in expected for entity in answer["entities"]]
    assert len(kinds) > 5
    assert set(kinds) == {"Disease", "Drug"}


@pytest.mark.parametrize("name", ["single", "multi", "regression"])
@pytest.mark.parametrize("pairs", [False, True])
def test_classes_are_those_of_transformers(folders: dict[str, Path], name: str, pairs: bool) -> None:
    theirs = their_pipeline("text-classification", folders[name], top_k=None)
    texts = [TEXTS[0], TEXTS[3]]
    inputs: list[str | tuple[str, str | None]] = [(text, TEXTS[0]) for text in texts] if pairs else [*texts]
    for text, answer in zip(texts, Predictor(folders[name]).predict_texts(inputs), strict=True):
        expected = theirs({"text": text} | ({"text_pair": TEXTS[0]} if pairs else {}))
        scores = {item["label"]: item["score"] for item in expected}
        if name == "regression":
            assert answer == {"score": pytest.approx(scores["score"], abs=1e-5)}
            continue
        assert answer["scores"] == pytest.approx(scores, abs=1e-5)
        if name == "multi":
            assert answer["labels"] == [label for label in HEADS[name].labels if scores[label] > 0.5]
        else:
            assert answer["label"] == expected[0]["label"]
            assert answer["score"] == answer["scores"][answer["label"]]  # type: ignore[index]


@pytest.mark.parametrize("name", HEADS)
def test_a_batch_answers_like_single_texts(folders: dict[str, Path], name: str) -> None:
    predictor = Predictor(folders[name])
    texts = [*TEXTS, LONG, *HOSTILE]
    assert same(predictor.predict_texts(texts), [predictor.predict_texts([text])[0] for text in texts])
    assert predictor.predict_texts([]) == []
    if name == "tags":
        sentences = [text.split() for text in texts]
        assert same(predictor.predict_words(sentences), [predictor.predict_words([words])[0] for words in sentences])


@pytest.mark.parametrize("name", ["single", "mean"])
def test_windows_of_a_text_are_averaged_as_in_training(folders: dict[str, Path], name: str) -> None:
    predictor = Predictor(folders[name])
    rows = RowEncoder(ModelTokenizer(folders[name], 30522), 64).text(TEXTS[0], LONG, 0)
    assert len(rows) > 2
    packed = pack(rows)
    arrays = [torch.from_numpy(array) for array in (packed.tokens, packed.positions, packed.types)]
    with torch.inference_mode():
        logits = tuned(HEADS[name])(*arrays, packed.lengths, owners=torch.from_numpy(packed.owners))
    expected = dict(zip(HEADS[name].labels, logits[0].softmax(dim=0).tolist(), strict=True))
    assert predictor.predict_texts([(TEXTS[0], LONG)])[0]["scores"] == pytest.approx(expected, abs=1e-5)


def test_cut_texts_where_the_model_was_tuned_on_them(tmp_path: Path) -> None:
    windows = Predictor(tuned_folder(tmp_path / "windows", HEADS["single"], max_length=32))
    truncate = Predictor(tuned_folder(tmp_path / "truncate", HEADS["single"], max_length=32, long="truncate"))
    assert truncate.predict_texts([LONG]) == truncate.predict_texts([LONG + " and more"])
    assert truncate.predict_texts([LONG]) != windows.predict_texts([LONG])
    assert truncate.predict_texts(TEXTS[:1]) == windows.predict_texts(TEXTS[:1])


def test_words_keep_their_places(folders: dict[str, Path]) -> None:
    predictor = Predictor(folders["tags"])
    words = [*LONG.split(), "\u200b", "", "x" * 500]
    answer = predictor.predict_words([words, []])
    assert answer[1] == {"tags": [], "entities": []}
    tags, entities = answer[0]["tags"], answer[0]["entities"]
    assert isinstance(tags, list)
    assert isinstance(entities, list)
    assert len(tags) == len(words)
    assert len(entities) > 5
    for entity in entities:
        inside = tags[entity["first"] : entity["end"]]
        assert {tag.split("-")[1] for tag in inside} == {entity["entity"]}
        assert entity["text"] == " ".join(words[entity["first"] : entity["end"]])
        assert 0 < entity["score"] <= 1


def test_offsets_in_texts_longer_than_a_row(folders: dict[str, Path]) -> None:
    entities = Predictor(folders["tags"]).predict_texts([LONG])[0]["entities"]
    assert isinstance(entities, list)
    assert entities[-1]["end"] > len(LONG) - 100
    for entity in entities:
        assert LONG[entity["start"] : entity["end"]] == entity["text"] == entity["text"].strip()


def test_inputs_of_the_wrong_kind(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="one text at a time"):
        Predictor(folders["tags"]).predict_texts([("a", "b")])
    with pytest.raises(InputError, match="classifies texts, not words"):
        Predictor(folders["single"]).predict_words([["a"]])


@pytest.mark.parametrize(
    ("extra", "pairs"),
    [
        ({}, None),
        ({"task": "classification"}, None),  # either is one
        ({"task": "pairs"}, True),
        ({"task": "similarity"}, True),
        ({"task": "classification", "texts": 2}, True),
        ({"task": "relation", "texts": 1}, False),
    ],
)
def test_one_text_or_two_as_in_training(tmp_path: Path, extra: dict[str, object], pairs: bool | None) -> None:
    predictor = Predictor(tuned_folder(tmp_path / "model", HEADS["single"], **extra))
    assert predictor.pairs is pairs
    if pairs is not True:
        assert predictor.predict_texts([TEXTS[0], (TEXTS[0], None)])
    else:
        with pytest.raises(InputError, match="was tuned on pairs of texts; give each its second text"):
            predictor.predict_texts([(TEXTS[0], TEXTS[1]), TEXTS[0]])
    if pairs is not False:
        assert predictor.predict_texts([(TEXTS[0], TEXTS[1]), (TEXTS[0], "")])
    else:
        with pytest.raises(InputError, match="one text at a time"):
            predictor.predict_texts([(TEXTS[0], TEXTS[1])])


def test_logits_are_what_scores_are_made_of(folders: dict[str, Path]) -> None:
    predictor = Predictor(folders["multi"])
    logits = predictor.text_logits([*TEXTS, (TEXTS[0], LONG)])
    for scores, answer in zip(logits, predictor.predict_texts([*TEXTS, (TEXTS[0], LONG)]), strict=True):
        assert scores.shape == (4,)
        assert answer["labels"] == [label for label, score in zip("abcd", scores, strict=True) if score > 0]
    with pytest.raises(InputError, match="does not classify texts"):
        Predictor(folders["tags"]).text_logits(TEXTS)


def test_pieces_are_those_of_transformers(folders: dict[str, Path]) -> None:
    """Its pipeline without aggregation, which speaks of every piece but those it holds to be outside."""
    theirs = their_pipeline("token-classification", folders["tags"], aggregation_strategy="none", ignore_labels=[])
    predictor = Predictor(folders["tags"])
    for text, found in zip(TEXTS[:2], predictor.predict_pieces(TEXTS[:2]), strict=True):
        expected = theirs(text)
        assert found.tokens == [piece["word"] for piece in expected]
        assert found.spans == [(piece["start"], piece["end"]) for piece in expected]
        assert [TAGS[index] for index in found.probabilities.argmax(axis=1)] == [piece["entity"] for piece in expected]
        assert found.probabilities.max(axis=1) == pytest.approx([float(piece["score"]) for piece in expected], abs=1e-4)
        assert len(set(found.words)) < len(found.words)
    with pytest.raises(InputError, match="does not tag words"):
        Predictor(folders["single"]).predict_pieces(TEXTS)


def test_pieces_of_texts_longer_than_a_row(folders: dict[str, Path]) -> None:
    found = Predictor(folders["tags"]).predict_pieces([LONG, ""])
    assert found[0].spans[-1][1] == len(LONG)
    assert found[0].probabilities.shape == (len(found[0].tokens), len(TAGS))
    assert found[0].probabilities.sum(axis=1) == pytest.approx(1)
    assert found[1].tokens == []


def test_torch_answers_the_same(folders: dict[str, Path]) -> None:
    for name, folder in folders.items():
        onnx, reference = Predictor(folder), Predictor(folder, backend="torch")
        assert (onnx.engine, reference.engine) == ("onnx fp32", "torch fp32")
        assert same(onnx.predict_texts([*TEXTS, LONG]), reference.predict_texts([*TEXTS, LONG])), name


def test_classes_of_words(tmp_path: Path) -> None:
    words = LONG.split()
    plain = Predictor(tuned_folder(tmp_path / "a", Head(level="tokens", labels=("O", "NOUN", "VERB")), task="words"))
    answer: Any = plain.predict_words([words])[0]
    assert set(answer["tags"]) == {"O", "NOUN", "VERB"}
    runs = [(kind, len(list(run))) for kind, run in groupby(answer["tags"])]
    found = [(entity["entity"], entity["end"] - entity["first"]) for entity in answer["entities"]]
    assert found == [run for run in runs if run[0] != "O"]
    answer = plain.predict_texts([LONG])[0]
    assert {entity["entity"] for entity in answer["entities"]} == {"NOUN", "VERB"}
    head = Head(level="tokens", labels=("O", "I-PAR", "I-INT"))
    answer = Predictor(tuned_folder(tmp_path / "b", head, task="words")).predict_words([words])[0]
    assert set(answer["tags"]) == set(head.labels), "as the data have them"
    assert {entity["entity"] for entity in answer["entities"]} == {"PAR", "INT"}


@pytest.mark.parametrize(
    ("head", "extra", "match"),
    [
        (HEADS["single"], {"texts": 3}, "texts must be 1 or 2, not 3"),
        (HEADS["tags"], {"max_length": 65}, "max_length must be from 8 to 64, not 65"),
        (HEADS["tags"], {"max_length": True}, "max_length must be from 8 to 64, not True"),
        (HEADS["single"], {"long": "cut"}, "long must be windows or truncate, not 'cut'"),
        (Head(level="tokens", labels=("LABEL_0", "LABEL_1")), {}, "cannot name entities, as 'LABEL_0' is no tag"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, head: Head, extra: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        Predictor(tuned_folder(tmp_path / "model", head, **extra))
    assert "config.json" in str(caught.value)
