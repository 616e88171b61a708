"""The graphs: only what is asked for is computed, and the views equal transformers' attentions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pubmedbert.infer.engine import open_engine, open_explorer
from pubmedbert.infer.engines.graph import build
from pubmedbert.infer.engines.onnx_engine import Explorer
from pubmedbert.infer.engines.weight_file import matrices, write_weights
from pubmedbert.infer.engines.weights import read_checkpoint
from pubmedbert.model import hf
from tests.infer.minilm import MINILM
from tests.model.reference import SMALL, load_theirs, our_model, their_model

KINDS = ("DynamicQuantizeMatMul", "Gemm")


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Explorer, object]:
    folder = tmp_path_factory.mktemp("explored")
    model = their_model()
    model.set_attn_implementation("eager")
    model.save_pretrained(folder)
    return open_explorer(folder), model


@settings(max_examples=15)
@given(st.lists(st.integers(0, 119), min_size=1, max_size=40), st.integers(0, 40))
def test_views_equal_transformers(explored: tuple[Explorer, object], row: list[int], second: int) -> None:
    explorer, model = explored
    second = min(second, len(row))
    types = [0] * second + [1] * (len(row) - second)
    with torch.inference_mode():
        theirs = model(  # type: ignore[operator]
            torch.tensor([row]), token_type_ids=torch.tensor([types]), output_attentions=True, output_hidden_states=True
        )
    (views,) = explorer.views([row], [second])
    assert views.attentions.shape == (2, 4, len(row), len(row))
    assert views.hidden.shape == (3, len(row), 32)
    assert np.abs(views.attentions - torch.cat(theirs.attentions).numpy()).max() < 1e-4
    assert np.abs(views.hidden - torch.cat(theirs.hidden_states).numpy()).max() < 1e-4
    assert np.array_equal(explorer.attentions([row], [second])[0], views.attentions)


def test_views_of_a_trained_model_equal_transformers() -> None:
    from transformers import BertModel

    model = load_theirs(MINILM, BertModel)
    model.set_attn_implementation("eager")
    row = [101, *range(2000, 2040), 102]
    with torch.inference_mode():
        theirs = model(torch.tensor([row]), output_attentions=True, output_hidden_states=True)
    (views,) = open_explorer(MINILM).views([row])
    assert np.abs(views.attentions - torch.cat(theirs.attentions).numpy()).max() < 1e-4
    assert np.abs(views.hidden - torch.cat(theirs.hidden_states).numpy()).max() < 1e-4


@pytest.mark.parametrize(("layers", "tied"), [(1, True), (3, False)])
def test_any_depth_and_an_untied_head(tmp_path: Path, layers: int, tied: bool) -> None:
    hf.save(our_model(dataclasses.replace(SMALL, layers=layers, tied=tied)), tmp_path)
    rows, where = [[1, 2, 3], [4, 5, 6]], [[0, 2], [1]]
    ours, theirs = (open_engine(tmp_path, backend=name).logits(rows, where) for name in ("onnx", "torch"))
    assert np.abs(ours - theirs).max() < 1e-4


def test_the_last_layer_and_the_head_see_the_wanted_places_only(tmp_path: Path) -> None:
    hf.save(our_model(), tmp_path)
    checkpoint = read_checkpoint(tmp_path, "mlm")
    graph = build(checkpoint.config, write_weights(checkpoint, tmp_path / "weights.bin"), "logits")
    products = [node for node in graph.graph.node if node.op_type == "Gemm"]
    assert [node.input[1] for node in products] == [
        *("0.qkv.weight", "0.output.weight", "0.up.weight", "0.down.weight"),
        *("1.query.weight", "1.key_value.weight", "1.output.weight", "1.up.weight", "1.down.weight"),
        *("transform.weight", "decoder.weight"),
    ]
    (gather,) = [node for node in graph.graph.node if "where" in node.input]
    assert gather.output[0] in products[4].input
    places = {entry.key: entry.value for entry in _tensor(graph, "decoder.weight").external_data}
    words = {entry.key: entry.value for entry in _tensor(graph, "words.weight").external_data}
    assert places == words  # a tied head is stored once


def test_int8_is_per_matrix(tmp_path: Path) -> None:
    hf.save(our_model(), tmp_path)
    checkpoint = read_checkpoint(tmp_path, "mlm")
    names = set(matrices(checkpoint.config, vocabulary=True)) - {"words", "0.down"}
    graph = build(checkpoint.config, write_weights(checkpoint, tmp_path / "weights.bin", names), "logits")
    rounded = {
        node.input[1].removesuffix(".int8") for node in graph.graph.node if node.op_type == "DynamicQuantizeMatMul"
    }
    exact = {node.input[1] for node in graph.graph.node if node.op_type == "Gemm"}
    assert rounded == names
    assert exact == {"0.down.weight"}


def _tensor(graph: onnx.ModelProto, name: str) -> onnx.TensorProto:
    (found,) = [tensor for tensor in graph.graph.initializer if tensor.name == name]
    assert isinstance(found, onnx.TensorProto)
    return found
