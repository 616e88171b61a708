"""What a model knows before its first step: word frequencies and neighbours."""

from __future__ import annotations

import json
import shutil
import time
import tomllib
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.errors import InputError
from pubmedbert.model import precision
from pubmedbert.model.config import ModelError
from pubmedbert.pretrain import run, start
from pubmedbert.pretrain.loop import pretrain
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.shards.read import Split
from tests.pretrain.conftest import metrics
from tests.pretrain.test_engine import SMALL, weights

DOCUMENTS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=1, max_size=8)
UNTRAINED = replace(SMALL, steps=1, evaluate_rows=64)


def split(documents: list[list[int]]) -> Split:
    ends = np.cumsum([0, *map(len, documents)])
    return Split(np.array([*chain.from_iterable(documents)], np.uint16), ends, ends)


@given(DOCUMENTS, st.integers(1, 4), st.integers(1, 60), st.integers(1, 6))
def test_neighbours_are_counted_within_documents(
    documents: list[list[int]], window: int, chunk: int, contexts: int
) -> None:
    whole = split(documents)
    counts = np.bincount(whole.tokens, minlength=6)
    columns = sorted(range(6), key=lambda piece: (-counts[piece], piece))[:contexts]
    expected = np.zeros((6, contexts))
    for document in documents:
        for at, piece in enumerate(document):
            for other in (*document[max(at - window, 0) : at], *document[at + 1 : at + 1 + window]):
                if other in columns:
                    expected[piece, columns.index(other)] += 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "CHUNK", chunk)
        patch.setattr(start, "CONTEXTS", contexts)
        assert np.array_equal(start.neighbours(whole, counts, window), expected)


def test_of_a_large_split_documents_from_all_of_it_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "MOST_TOKENS", 10)
    whole = split([[n // 2, 5] for n in range(10)])
    counts = np.bincount(whole.tokens, minlength=6)
    assert start.neighbours(whole, counts, 1)[:, 0].tolist() == [1, 1, 1, 1, 1, 0], "every second document"


def test_pieces_with_the_same_neighbours_have_near_vectors() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, (50, 2)).tolist(), rng.integers(2, 4, (50, 2)).tolist()
    whole = split([[a, 4, b, 5] for a, b in first] + [[a, 6, b, 7] for a, b in second])
    vectors = start.word_vectors(whole, np.bincount(whole.tokens, minlength=9), 8, 2, seed=1)
    assert vectors[:8].norm(dim=1).tolist() == pytest.approx([8**0.5] * 8, rel=1e-5)
    assert not vectors[8].any(), "it never occurs"
    near = vectors @ vectors.T / 8
    assert near[0, 1] > near[0, 2:4].max() + 0.5
    assert near[2, 3] > near[3, 0:2].max() + 0.5
    assert torch.equal(vectors, start.word_vectors(whole, np.bincount(whole.tokens, minlength=9), 8, 2, seed=1))


def test_pieces_without_neighbours_keep_their_embeddings() -> None:
    whole = split([[0, 1, 0, 2], [3]])
    words = torch.randn(6, 4)
    before = words.clone()
    start.start_at_neighbours(words, whole, np.bincount(whole.tokens, minlength=6), 2, seed=0)
    assert torch.equal(words[3:], before[3:]), "3 stands alone, 4 and 5 do not occur"
    assert not torch.equal(words[:3], before[:3])


@pytest.mark.parametrize("objective", ["mlm", "mlm+nsp"])
def test_an_untrained_model_predicts_by_neighbours(shards: Path, tmp_path: Path, objective: str) -> None:
    """On average over seeds: 64 short rows have some 200 masks, and the vectors are 128 wide."""
    plain = replace(UNTRAINED, unigram_bias=True, objective=objective, two_segments=objective == "mlm+nsp")
    gains = []
    for seed in range(3):
        losses = {}
        for window in (0, 4):
            out = tmp_path / f"{seed}-{window}"
            pretrain(replace(plain, neighbours=window, seed=seed), shards, out)
            losses[window] = metrics(out)[0]["eval_loss"]
        gains.append(losses[0] - losses[4])  # type: ignore[operator]
    assert sum(gains) / 3 > 0.02


def test_counting_takes_its_time_from_the_run(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "start_at_neighbours", lambda *_: time.sleep(0.4))
    pretrain(replace(UNTRAINED, neighbours=2), shards, tmp_path / "run")
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["seconds"] >= 0.4
    with pytest.raises(InputError, match="the run's 0 s are over: set minutes higher"):
        pretrain(replace(UNTRAINED, neighbours=2, minutes=1 / 600), shards, tmp_path / "short")


def test_electra_does_not_start_at_neighbours() -> None:
    with pytest.raises(InputError, match="leave it out for electra"):
        Recipe(objective="electra", neighbours=5)


def test_the_faster_precision_is_what_was_measured(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for gain, expected in ((2.0, "bf16"), (1.1, "fp32")):
        monkeypatch.setattr(precision, "gain", lambda gain=gain: gain)
        named, measured = tmp_path / expected, tmp_path / f"measured {expected}"
        pretrain(replace(SMALL, precision=expected), shards, named)
        pretrain(replace(SMALL, precision="auto"), shards, measured)
        assert tomllib.loads((measured / "config.toml").read_text())["machine"]["precision"] == expected
        assert_equal(weights(measured, 6), weights(named, 6))


def test_gpus_without_bfloat16_are_told_by_their_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, expected in (((7, 0), False), ((8, 0), True), ((12, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda capability=capability: capability)
        assert precision.in_bf16("auto", "cuda") is expected
        with nullcontext() if expected else pytest.raises(ModelError, match="this GPU has no bfloat16"):
            assert precision.in_bf16("bf16", "cuda")


def test_a_resumed_run_keeps_the_precision_it_began_with(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(SMALL, precision="auto")
    monkeypatch.setattr(precision, "gain", lambda: 2.0)
    pretrain(recipe, shards, tmp_path / "run")
    whole = weights(tmp_path / "run", 6)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-6")
    monkeypatch.setattr(precision, "gain", lambda: 0.5)
    pretrain(recipe, shards, tmp_path / "run")
    assert_equal(weights(tmp_path / "run", 6), whole)


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
