"""Fine-tuned models: what transformers' BERT classifiers compute, both ways, and folders that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from pubmedbert.model import hf
from pubmedbert.model.config import ModelError, config_to_hf
from pubmedbert.model.head import Head
from pubmedbert.model.tuned import Tuned
from pubmedbert.model.tuned_hf import load_tuned, save_tuned
from tests.model.reference import SMALL, furthest, load_theirs, our_model, randomise, some_rows

TAGS = ("O", "B-Disease", "I-Disease")
HEADS = {
    "tokens": Head(level="tokens", labels=TAGS),
    "single": Head(level="text", labels=("no", "maybe", "yes")),
    "binary": Head(level="text", labels=("LABEL_0", "LABEL_1")),
    "multi": Head(level="text", labels=("a", "b", "c", "d"), problem="multi"),
    "regression": Head(level="text", labels=("score",), problem="regression"),
}
ROWS = some_rows(SMALL, [3, 9, 9, 30])
SECOND = 5  # where segment B begins
State = dict[str, Tensor]


def ours(head: Head) -> Tuned:
    model = Tuned(SMALL, head).eval()
    randomise(model)
    return model


def kind(head: Head) -> Any:
    return BertForTokenClassification if head.level == "tokens" else BertForSequenceClassification


def theirs(head: Head) -> Any:
    problems = {"single": "single_label_classification", "multi": "multi_label_classification"}
    values = config_to_hf(SMALL) | {
        "id2label": dict(enumerate(head.labels)),
        "label2id": {label: index for index, label in enumerate(head.labels)},
    }
    if head.level == "text":
        values["problem_type"] = problems.get(head.problem, "regression")
    del values["architectures"]
    model = kind(head)(BertConfig(**values)).eval()
    randomise(model)
    return model


def our_scores(model: Tuned, rows: Sequence[Sequence[int]] = ROWS) -> Tensor:
    """`[N, C]` or `[B, C]`, segment B from place `SECOND`."""
    positions = torch.cat([torch.arange(len(row)) for row in rows])
    tokens = torch.tensor([token for row in rows for token in row])
    with torch.inference_mode():
        scores: Tensor = model(tokens, positions, (positions >= SECOND).long(), [len(row) for row in rows])
    return scores


def their_scores(model: Any, rows: Sequence[Sequence[int]] = ROWS) -> Tensor:
    """The same from transformers, row by row."""
    scores = []
    for row in rows:
        tokens = torch.tensor([row])
        types = (torch.arange(len(row)) >= SECOND).long()[None]
        with torch.inference_mode():
            scores.append(model(input_ids=tokens, token_type_ids=types).logits)
    return torch.cat([score.view(-1, score.shape[-1]) for score in scores])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_tuned(ours(HEADS["tokens"]), tmp_path, {"task": "ner"})
    return tmp_path


def rewrite(folder: Path, change: Callable[[State], State | None]) -> None:
    state = load_file(folder / "model.safetensors")
    save_file(change(state) or state, folder / "model.safetensors")


def configure(folder: Path, **values: object) -> None:
    """Set keys of config.json; None removes one."""
    path = folder / "config.json"
    merged = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in merged.items() if value is not None}))


@pytest.mark.parametrize("name", HEADS)
def test_transformers_reads_ours(tmp_path: Path, name: str) -> None:
    model = ours(HEADS[name])
    save_tuned(model, tmp_path, {"task": "any", "max_length": 40})
    reference = load_theirs(tmp_path, kind(model.head))
    assert furthest([our_scores(model)], [their_scores(reference)]) < 1e-4
    assert reference.config.num_labels == len(model.head.labels)
    assert tuple(reference.config.id2label[index] for index in range(len(model.head.labels))) == model.head.labels


@pytest.mark.parametrize("name", HEADS)
def test_ours_reads_transformers(tmp_path: Path, name: str) -> None:
    reference = theirs(HEADS[name])
    reference.save_pretrained(tmp_path)
    model, extra = load_tuned(tmp_path)
    assert furthest([our_scores(model)], [their_scores(reference)]) < 1e-4
    assert model.head == HEADS[name]
    assert extra == {}
    assert not model.training


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean", "max"])
def test_round_trip_keeps_every_bit(tmp_path: Path, name: str, pooling: Any) -> None:
    head = HEADS[name] if HEADS[name].level == "tokens" else replace(HEADS[name], pooling=pooling)
    model, extra = ours(head), {"task": "ner", "max_length": 40, "scheme": "bio", "long": "windows"}
    save_tuned(model, tmp_path, extra)
    again, found = load_tuned(tmp_path)
    assert (again.head, again.config, found) == (head, SMALL, extra)
    assert torch.equal(our_scores(again), our_scores(model))


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_transformers_refuses_a_pooling_it_does_not_have(tmp_path: Path, pooling: Any) -> None:
    save_tuned(ours(replace(HEADS["single"], pooling=pooling)), tmp_path, {})
    with pytest.raises(ValueError, match="model type `pubmedbert`"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path)
    with pytest.raises(ModelError, match="model_type is 'pubmedbert'"):
        hf.load(tmp_path)


def test_an_encoder_to_tune_further(folder: Path) -> None:
    """A fine-tuned folder is also a checkpoint of its encoder."""
    bert, (tuned, _) = hf.load(folder), load_tuned(folder)
    expected = tuned.encoder.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in bert.encoder.state_dict().items())


def test_what_pretraining_left_is_not_read(folder: Path) -> None:
    """Older token classifiers hold a pooler that none of their outputs has seen; some hold a vocabulary head."""
    expected = our_scores(ours(HEADS["tokens"]))
    extras = {
        "bert.pooler.dense.weight": torch.ones(32, 32),
        "bert.pooler.dense.bias": torch.ones(32),
        "cls.predictions.bias": torch.ones(120),
        "bert.embeddings.position_ids": torch.arange(40)[None],
    }
    rewrite(folder, lambda state: state | extras)
    assert torch.equal(our_scores(load_tuned(folder)[0]), expected)


def test_pickles(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert torch.equal(our_scores(load_tuned(folder)[0]), our_scores(ours(HEADS["tokens"])))


@pytest.mark.parametrize(("name", "problem"), [("regression", "regression"), ("single", "single"), ("multi", "single")])
def test_without_a_problem_type_it_is_what_transformers_would_train(tmp_path: Path, name: str, problem: str) -> None:
    save_tuned(ours(HEADS[name]), tmp_path, {})
    configure(tmp_path, problem_type=None)
    assert load_tuned(tmp_path)[0].head.problem == problem


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (
            {"architectures": ["BertForMaskedLM"]},
            r"architectures is \['BertForMaskedLM'\]; that of a fine-tuned",
        ),
        ({"architectures": None}, "architectures is None"),
        ({"model_type": "roberta"}, "only 'bert' can be loaded"),
        ({"id2label": None}, "id2label is missing; it must name the 3 outputs"),
        ({"id2label": {"0": "O", "1": "B"}}, "id2label must have the keys 0 to 2"),
        ({"id2label": {"0": "O", "1": "B", "3": "I"}}, "id2label must have the keys 0 to 2"),
        ({"id2label": {"0": "O", "1": "B", "2": 2}}, "id2label must map numbers to strings"),
        ({"id2label": {"0": "O", "1": "B", "2": "B"}}, "labels, each once"),
        ({"pubmedbert": []}, "pubmedbert must be an object"),
        ({"num_hidden_layers": 3}, "has 2 layers, config.json asks for 3"),
    ],
)
def test_configurations_that_cannot_be_used(folder: Path, values: dict[str, object], match: str) -> None:
    configure(folder, **values)
    with pytest.raises(ModelError, match=match) as caught:
        load_tuned(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"problem_type": "ranking"}, "problem_type must be one of single_label_classification"),
        ({"problem_type": "regression"}, "a regression has one output, not 3"),
        ({"pubmedbert": {"pooling": "median"}}, "pooling must be one of"),
        ({"architectures": ["BertForTokenClassification"], "id2label": {"0": "a"}}, "id2label must have the keys"),
    ],
)
def test_configurations_of_text_models_that_cannot_be_used(
    tmp_path: Path, values: dict[str, object], match: str
) -> None:
    save_tuned(ours(HEADS["single"]), tmp_path, {})
    configure(tmp_path, **values)
    with pytest.raises(ModelError, match=match):
        load_tuned(tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"classifier.weight": None}, r"model\.safetensors has no classifier"),
        ({"classifier.weight": torch.zeros(3)}, r"model\.safetensors has no classifier"),
        ({"classifier.bias": None}, r"lacks classifier\.bias"),
        ({"classifier.bias": torch.zeros(4)}, r"classifier\.bias has shape \(4,\), config\.json asks for \(3,\)"),
        ({"classifier.weight": torch.zeros(3, 16)}, r"classifier\.weight has shape \(3, 16\)"),
        ({"bert.embeddings.LayerNorm.bias": None}, r"lacks bert\.embeddings\.LayerNorm\.bias"),
        ({"bert.embeddings.extra": torch.zeros(3)}, r"holds bert\.embeddings\.extra"),
    ],
)
def test_weights_that_do_not_fit(folder: Path, change: dict[str, Tensor | None], match: str) -> None:
    rewrite(folder, lambda state: {name: value for name, value in (state | change).items() if value is not None})
    with pytest.raises(ModelError, match=match):
        load_tuned(folder)


def test_a_text_model_without_pooler(tmp_path: Path) -> None:
    save_tuned(ours(HEADS["single"]), tmp_path, {})
    rewrite(tmp_path, lambda state: {name: value for name, value in state.items() if "pooler" not in name})
    with pytest.raises(ModelError, match=r"lacks bert\.pooler\.dense\.weight"):
        load_tuned(tmp_path)


def test_a_pretrained_model_is_no_fine_tuned_one(tmp_path: Path) -> None:
    hf.save(our_model(), tmp_path)
    with pytest.raises(ModelError, match="that of a fine-tuned model is BertForTokenClassification or"):
        load_tuned(tmp_path)
