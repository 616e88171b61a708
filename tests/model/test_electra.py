"""ELECTRA's two models: their shapes, what they share, and how pieces are drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pubmedbert.model.config import SIZES
from pubmedbert.model.electra import Electra, Projected, generator_config, sample
from tests.model.reference import SMALL

ROW = torch.tensor([2, 7, 7, 31, 3])


def small() -> Electra:
    torch.manual_seed(0)
    return Electra(SMALL, 0.25)


def pack(tokens: Tensor = ROW) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    return tokens, torch.arange(len(tokens)), torch.zeros_like(tokens), [len(tokens)]


@pytest.mark.parametrize(
    ("size", "share", "shape"),
    [
        ("base", 0.333, (12, 256, 4, 1024)),  # Clark et al. 2020, table 6
        ("large", 0.25, (24, 256, 4, 1024)),
        ("mini", 0.25, (4, 64, 1, 256)),
        ("tiny", 0.25, (2, 64, 1, 256)),  # no less than one whole head
        ("mini", 1.0, (4, 256, 4, 1024)),
    ],
)
def test_the_generator_has_whole_heads_of_the_discriminators_size(
    size: str, share: float, shape: tuple[int, int, int, int]
) -> None:
    config = generator_config(SIZES[size], share)
    assert (config.layers, config.width, config.heads, config.ffn) == shape
    assert config.vocab_size == SIZES[size].vocab_size


def test_the_embeddings_are_one_for_both() -> None:
    model = small()
    own, other = model.discriminator.encoder.embeddings, model.generator.encoder.embeddings
    assert isinstance(other, Projected)
    for part in ("words", "positions", "types", "norm"):
        assert getattr(own, part) is getattr(other, part)
    names = [name for name, _ in model.named_parameters()]
    assert sum("words" in name for name in names) == 1, "an optimizer sees them once"
    assert model.generator.get_parameter("encoder.layers.0.up.weight").shape == (12, 8)


def test_without_a_difference_in_width_nothing_is_projected() -> None:
    model = Electra(SMALL, 1.0)
    assert model.generator.encoder.embeddings is model.discriminator.encoder.embeddings


def test_shapes_of_what_they_say() -> None:
    model = small()
    assert model.generator(*pack(), torch.tensor([1, 3])).shape == (2, SMALL.vocab_size)
    assert model.discriminator(*pack()).shape == (5,)


def test_a_head_that_learns_moves_the_shared_words() -> None:
    for part in ("generator", "discriminator"):
        model = small()
        said = model.generator(*pack(), torch.tensor([1])) if part == "generator" else model.discriminator(*pack())
        said.square().sum().backward()
        words = model.discriminator.encoder.embeddings.words.weight.grad
        assert words is not None
        assert float(words[7].abs().max()) > 0


def drawn(shares: Tensor, draws: list[float]) -> list[int]:
    rows = shares.expand(len(draws), -1)
    return sample(rows, torch.tensor(draws, dtype=torch.float64)).tolist()


@pytest.mark.parametrize("vocabulary", [1, 2, 255, 256, 257, 700])
def test_pieces_are_drawn_as_often_as_their_shares_say(vocabulary: int) -> None:
    shares = torch.randn(vocabulary, generator=torch.Generator().manual_seed(1)).mul(2).softmax(0)
    count = 4096
    found = np.bincount(drawn(shares, [i / count for i in range(count)]), minlength=vocabulary)
    assert np.abs(found - count * shares.numpy()).max() <= 1.01  # the draws are evenly spread
    assert len(found) == vocabulary


def test_the_ends_of_the_draws() -> None:
    shares = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0])
    assert drawn(shares, [0.0, 0.2499, 0.25, 1 - 2**-40]) == [1, 1, 3, 3]


def test_each_row_is_drawn_on_its_own() -> None:
    shares = torch.eye(300)[[5, 299, 0, 256]]
    assert sample(shares, torch.tensor([0.1, 0.9, 0.5, 0.0], dtype=torch.float64)).tolist() == [5, 299, 0, 256]
    assert sample(shares[:0], torch.zeros(0, dtype=torch.float64)).shape == (0,)


@settings(max_examples=50)
@given(
    st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=600),
    st.lists(st.integers(0, 2**40 - 1), min_size=1, max_size=8),
)
def test_it_is_the_inverse_of_the_distribution_function(logits: list[float], draws: list[int]) -> None:
    shares = torch.tensor(logits).softmax(0)
    ends = shares.double().cumsum(0).numpy()
    for draw, piece in zip(draws, drawn(shares, [draw / 2**40 for draw in draws]), strict=True):
        assert 0 <= piece < len(logits)
        at = draw / 2**40 * ends[-1]
        assert at < ends[piece] + 1e-5
        assert at > (ends[piece - 1] if piece else 0.0) - 1e-5


def test_shares_that_are_no_numbers_do_no_harm() -> None:
    """A step that diverged is to be seen by its loss, not by an index out of range."""
    found = sample(torch.full((3, 300), float("nan")), torch.tensor([0.0, 0.5, 0.99], dtype=torch.float64))
    assert all(0 <= piece < 300 for piece in found.tolist())


def test_an_untied_discriminator_has_a_tied_generator() -> None:
    assert Electra(replace(SMALL, tied=False), 0.5).generator.vocabulary.decoder is None
