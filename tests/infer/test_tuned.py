"""The small layers in numpy give what the torch model gives, for every head and pooling."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pubmedbert.errors import InputError
from pubmedbert.finetune.logits import example_logits
from pubmedbert.infer.labels.rows import RowEncoder
from pubmedbert.infer.labels.tuned import TunedModel
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model.config import ModelError
from pubmedbert.model.tuned_hf import load_tuned
from tests.infer.tuned_folders import HEADS, tuned_folder

TEXTS = ["Naloxone reverses the effect of clonidine.", "Gefitinib " * 150, "", "EGFR and NSCLC " * 5]


@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean", "max"])
@pytest.mark.parametrize("name", ["single", "multi", "regression"])
def test_texts(tmp_path: Path, name: str, pooling: Any) -> None:
    folder = tuned_folder(tmp_path / "model", replace(HEADS[name], pooling=pooling))
    rows = RowEncoder(ModelTokenizer(folder, 30522), 64)
    examples = rows.text_batch([(a, b) for a in TEXTS for b in (None, *TEXTS)])
    assert max(len(windows) for windows in examples) > 2
    expected = example_logits(load_tuned(folder)[0], examples)
    found = TunedModel(folder).logits(examples)
    assert np.allclose(found, expected, rtol=0, atol=1e-4)


def test_words(tmp_path: Path) -> None:
    folder = tuned_folder(tmp_path / "model", HEADS["tags"])
    rows = RowEncoder(ModelTokenizer(folder, 30522), 64)
    examples = rows.words_batch([text.split() for text in TEXTS])
    expected = example_logits(load_tuned(folder)[0], examples)
    for one, other in zip(TunedModel(folder).logits(examples), expected, strict=True):
        assert one.shape == other.shape
        assert np.allclose(one, other, rtol=0, atol=1e-4)


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read config\.json"):
        TunedModel(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["tags", "single", "mean"])
@pytest.mark.parametrize("tensor", ["classifier.weight", "bert.embeddings.LayerNorm.bias"])
def test_a_model_of_no_numbers(tmp_path: Path, name: str, tensor: str, value: float) -> None:
    folder = tuned_folder(tmp_path / "model", HEADS[name])
    weights = load_file(folder / "model.safetensors")
    weights[tensor].reshape(-1)[0] = value
    save_file(weights, folder / "model.safetensors")
    rows = RowEncoder(ModelTokenizer(folder, 30522), 64)
    examples = rows.words_batch([["a"]]) if name == "tags" else rows.text_batch([("a", None)])
    with pytest.raises(InputError, match="scores are no finite numbers: its weights are damaged"):
        TunedModel(folder).logits(examples)
