"""What is saved changes nothing: the loss and the gradients of the model as the paper has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pubmedbert.model import attention, dropout, hf, loss
from pubmedbert.model.config import SIZES, ModelConfig
from pubmedbert.model.heads import Bert
from pubmedbert.model.precision import bf16_gain
from tests.model.reference import SMALL, keep_all, load_theirs, our_model, some_rows

LENGTHS = [4, 9, 9, 9, 30]
MASKED = [1, 5, 6, 7, 14, 22, 24, 31, 40, 60]


def pack(config: ModelConfig) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    tokens = torch.tensor([token for row in some_rows(config, LENGTHS) for token in row])
    return tokens, torch.cat([torch.arange(length) for length in LENGTHS]), torch.zeros_like(tokens), LENGTHS


def saved(model: Bert, labels: Tensor) -> Tensor:
    """The mean loss with all savings."""
    states = model.encoder(*pack(model.config), keep=torch.tensor(MASKED))
    return model.loss(states, labels)[0] / len(labels)


def gradients(value: Tensor, model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    yield from zip(names, torch.autograd.grad(value, parameters), strict=True)


def everywhere(model: Bert, labels: Tensor) -> Tensor:
    """The mean loss with everything computed at all places, and the head's loss by torch."""
    return F.cross_entropy(model.logits(model(*pack(model.config))[MASKED]), labels)


@pytest.mark.parametrize("config", [SMALL, replace(SIZES["tiny"], vocab_size=3000)], ids=["small", "tiny"])
@pytest.mark.parametrize("by_hand", [False, True])
def test_loss_and_gradients_are_those_of_the_plain_model(
    config: ModelConfig, by_hand: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, labels = our_model(config), torch.randint(1, config.vocab_size, (len(MASKED),))
    plain = everywhere(model, labels)
    expected = dict(gradients(plain, model))
    if by_hand:  # all coins say "keep": the functions of training with dropout, the values without
        monkeypatch.setattr(attention, "coins", keep_all)
        monkeypatch.setattr(attention, "scale", lambda _: 1.0)
        monkeypatch.setattr(dropout, "factors", lambda x, _: torch.ones_like(x))
        model.train()
    found = saved(model, labels)
    assert float(found.detach()) == pytest.approx(float(plain.detach()), abs=1e-5)
    for name, gradient in gradients(found, model):
        assert torch.allclose(gradient, expected[name], atol=1e-5), name


def test_loss_and_gradients_are_those_of_transformers(tmp_path: Path) -> None:
    ours, labels = our_model(), torch.randint(1, SMALL.vocab_size, (len(MASKED),))
    hf.save(ours, tmp_path)
    theirs = load_theirs(tmp_path)
    tokens = torch.split(pack(SMALL)[0], LENGTHS)
    wanted = torch.split(torch.full((sum(LENGTHS),), -100).index_copy(0, torch.tensor(MASKED), labels), LENGTHS)
    padded = torch.nn.utils.rnn.pad_sequence(list(tokens), batch_first=True)
    expected = theirs(
        input_ids=padded,
        attention_mask=(padded > 0).long(),
        labels=torch.nn.utils.rnn.pad_sequence(list(wanted), batch_first=True, padding_value=-100),
    ).loss
    expected.backward()
    found = saved(ours, labels)
    found.backward()  # type: ignore[no-untyped-call]
    assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    mine: Any = ours.encoder
    other = theirs.bert
    attention_ = other.encoder.layer[-1].attention.self
    q, k, v = mine.layers[-1].attention.qkv.weight.grad.chunk(3)
    for gradient, parameter in (
        (mine.embeddings.words.weight.grad, other.embeddings.word_embeddings.weight),
        (mine.layers[0].up.weight.grad, other.encoder.layer[0].intermediate.dense.weight),
        (q, attention_.query.weight),
        (k, attention_.key.weight),
        (v, attention_.value.weight),
    ):
        assert torch.allclose(gradient, parameter.grad, atol=1e-5)


def test_with_dropout_the_mean_is_that_of_the_plain_functions() -> None:
    """The mean loss over many draws, by coins and by torch's own dropout in the same model, everything computed."""
    config = replace(SMALL, layers=1)
    model, labels = our_model(config).train(), torch.randint(1, config.vocab_size, (len(MASKED),))
    torch.manual_seed(0)
    with torch.no_grad():
        ours = torch.stack([saved(model, labels) for _ in range(400)])
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(dropout, "on_cpu", lambda _: False)
            patched.setattr(attention, "on_cpu", lambda _: False)
            theirs = torch.stack([everywhere(model, labels) for _ in range(400)])
    error = float((ours.var() + theirs.var()) / 400) ** 0.5
    assert float(ours.mean()) == pytest.approx(float(theirs.mean()), abs=4 * error)
    assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.25)


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_fused_cross_entropy(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "_CACHED", rows * 50)
    states, words = (torch.randn(size, 8, dtype=torch.float64, requires_grad=True) for size in (9, 50))
    bias, labels = torch.randn(50, dtype=torch.float64, requires_grad=True), torch.randint(50, (9,))
    total, right = loss.vocabulary_loss(states, words, bias, labels)
    logits = F.linear(states, words, bias)
    assert float(total.detach()) == pytest.approx(float(F.cross_entropy(logits, labels, reduction="sum").detach()))
    assert int(right) == int((logits.argmax(1) == labels).sum())
    assert torch.autograd.gradcheck(lambda x, y, z: loss.vocabulary_loss(x, y, z, labels)[0], (states, words, bias))


def test_losses_of_far_apart_logits_are_finite() -> None:
    states, words, bias = torch.tensor([[1000.0], [-1000.0]]), torch.tensor([[1.0], [-1.0]]), torch.zeros(2)
    total, right = loss.vocabulary_loss(states, words, bias, torch.tensor([1, 1]))
    assert float(total) == 2000
    assert int(right) == 1


def test_of_pieces_that_tie_in_bfloat16_one_is_the_best() -> None:
    states, words, bias = torch.ones(2, 1), torch.tensor([[1.0], [2.0], [2.001]]), torch.zeros(3)
    with torch.autocast("cpu", torch.bfloat16):
        _, right = loss.vocabulary_loss(states, words, bias, torch.tensor([1, 2]))
    assert int(right) == 1


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_in_bfloat16_the_gradients_are_close_and_kept_in_fp32(share: float) -> None:
    config = replace(SIZES["tiny"], vocab_size=3000, dropout=share, attention_dropout=share)
    model, labels = our_model(config).train(), torch.randint(1, config.vocab_size, (len(MASKED),))
    found = []
    for half in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            value = saved(model, labels)
        found.append((float(value.detach()), dict(gradients(value, model))))
    (exact, expected), (close, rounded) = found
    assert close == pytest.approx(exact, rel=1e-3)
    for name, gradient in rounded.items():
        assert gradient.dtype == torch.float32
        assert (gradient - expected[name]).norm() < 0.05 * expected[name].norm() + 1e-4, name


def test_bf16_is_measured() -> None:
    assert 0.05 < bf16_gain(1) < 100
