"""The two-way table of parameter names."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pubmedbert.model import hf, names
from pubmedbert.model.config import ModelConfig, config_from_hf, config_to_hf
from pubmedbert.model.head import Head
from pubmedbert.model.tuned import Tuned
from tests.model.reference import SMALL, our_model, their_model


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    heads = draw(st.integers(1, 3))
    return ModelConfig(
        vocab_size=draw(st.integers(6, 40)),
        layers=draw(st.integers(1, 3)),
        width=heads * draw(st.integers(1, 6)),
        heads=heads,
        ffn=draw(st.integers(1, 20)),
        max_positions=draw(st.integers(1, 20)),
        token_types=draw(st.integers(1, 3)),
        dropout=draw(st.floats(0, 0.9)),
        norm_eps=draw(st.floats(1e-12, 1e-5)),
        pad_id=draw(st.integers(0, 5)),
        tied=draw(st.booleans()),
    )


@settings(max_examples=40)
@given(config=configs(), pooler=st.booleans())
def test_saving_and_loading_keeps_every_bit(config: ModelConfig, pooler: bool) -> None:
    model = our_model(config, pooler=pooler)
    with tempfile.TemporaryDirectory() as folder:
        hf.save(model, Path(folder))
        again = hf.load(Path(folder), need_vocabulary=True)
    assert again.config == config
    before, after = model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@settings(max_examples=40)
@given(config=configs(), pooler=st.booleans(), vocabulary=st.booleans())
def test_the_table_is_a_bijection(config: ModelConfig, pooler: bool, vocabulary: bool) -> None:
    model = our_model(config, pooler=pooler, vocabulary=vocabulary)
    table = list(hf.name_table(model))
    theirs = [name for _, names in table for name in names]
    assert [ours for ours, _ in table] == [name for name, _ in model.named_parameters()]
    assert len(set(theirs)) == len(theirs)
    assert sum(value.numel() for name, value in hf.state_to_hf(model).items() if name in theirs) == sum(
        parameter.numel() for parameter in model.parameters()
    )


def test_the_names_are_those_of_transformers() -> None:
    for tied in (True, False):
        config = replace(SMALL, tied=tied)
        expected = {name: value.shape for name, value in their_model(config).named_parameters()}
        found = {name: value.shape for name, value in hf.state_to_hf(our_model(config)).items()}
        assert found == expected


@given(config=configs())
def test_config_json_round_trip(config: ModelConfig) -> None:
    assert config_from_hf(config_to_hf(config)) == config


@settings(max_examples=40)
@given(config=configs(), pooler=st.booleans(), vocabulary=st.booleans())
def test_the_shapes_are_those_of_the_model(config: ModelConfig, pooler: bool, vocabulary: bool) -> None:
    state = hf.state_to_hf(our_model(config, pooler=pooler, vocabulary=vocabulary))
    state.pop(names.DECODER_BIAS, None)
    expected = {name: tuple(value.shape) for name, value in state.items()}
    assert names.shapes(config, pooler=pooler, vocabulary=vocabulary) == expected


def test_the_shapes_of_a_classifier() -> None:
    model = Tuned(SMALL, Head(level="text", labels=("a", "b", "c")))
    expected = {name: tuple(value.shape) for name, value in hf.state_to_hf(model).items()}
    assert names.shapes(SMALL, pooler=True, vocabulary=False, outputs=3) == expected
