"""What a training step keeps in memory: formulas, held against what torch keeps by tests.

Two kinds of step are counted: fp32 on a CPU, as it is run and measured there, and bf16 autocast on a GPU with fused
attention, which keeps no scores. Compare Korthikanti et al. 2022, section 4: 34 T D bytes a row and layer for a step in
half precision throughout; here the residual stream is fp32, so that norms keep 4 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from pubmedbert.model.config import ModelConfig

RESERVED = 1.5 * 2**30
"""Bytes of a GPU that CUDA, its libraries and the allocator's rounding take."""


@dataclass(frozen=True)
class State:
    """Bytes that do not depend on the batch."""

    weights: float
    """fp32."""
    gradients: float
    """fp32; with several GPUs also the flat buffer they are added up in."""
    optimizer: float
    """Its moments, on this GPU, and the average of the weights where one is kept."""
    copies: float
    """The bf16 copies of the weights that autocast makes."""

    @property
    def total(self) -> float:
        """All of them."""
        return self.weights + self.gradients + self.optimizer + self.copies


def state(parameters: int, moments: int, gpus: int, *, half: bool, average: bool = False) -> State:
    """The bytes of weights, gradients and optimizer on one GPU.

    Args:
        parameters: of the model.
        moments: numbers that the optimizer keeps on this GPU: 2 for each parameter with AdamW and LAMB, 1 with Muon.
        gpus: that train together.
        half: whether autocast makes half-precision copies of the weights.
        average: whether an average of the weights is kept.
    """
    return State(
        weights=4.0 * parameters,
        gradients=4.0 * parameters * (2 if gpus > 1 else 1),
        optimizer=4.0 * moments + (4.0 * parameters if average else 0.0),
        copies=2.0 * parameters if half else 0.0,
    )


def row_bytes(
    config: ModelConfig, length: int, kept: float, *, half: bool, checkpointed: bool = False, head: bool = True
) -> float:
    """Bytes that the forward pass of one row keeps for the backward pass.

    Args:
        config: shape of the model.
        length: T, tokens in the row.
        kept: M, places of the row that are predicted; the last layer goes on with these alone.
        half: bf16 autocast on a GPU; otherwise fp32 on a CPU.
        checkpointed: whether each layer keeps its input only and is computed again in the backward pass.
        head: whether the vocabulary head runs at the kept places.
    """
    part = _layer(config, length, half)
    whole = length * (part.entry + part.keys + part.query + part.rest)
    last = length * (part.entry + part.keys) + kept * (part.entry + part.query + part.rest)
    if checkpointed:
        layers = config.layers * length * 4.0 * config.width + (whole if config.layers > 1 else last)
    else:
        layers = (config.layers - 1) * whole + last
    return length * _embedding(config, half) + layers + (kept * _head(config, half) if head else 0.0)


def backward_bytes(config: ModelConfig, kept: float, *, half: bool) -> float:
    """Bytes a row needs at the peak beyond what `row_bytes` keeps: the gradient of its logits, and casts of it.

    On a CPU the logits are their own gradient.
    """
    return kept * config.vocab_size * 8.0 if half else 0.0


@dataclass(frozen=True)
class _Layer:
    """Bytes that a layer keeps for each token, or, in the last layer, for each place that is predicted."""

    entry: float
    """What it is given, as its products read it."""
    keys: float
    """Keys and values."""
    query: float
    """The query, the attention's result and what softmax leaves."""
    rest: float
    """From the output projection to the last norm."""


def _layer(config: ModelConfig, length: int, half: bool) -> _Layer:
    width, heads = config.width, config.heads
    masks = 2 if config.dropout > 0 else 0
    if half:
        # Two sums before norms in fp32, a norm's result, GELU's input and result; a byte for each coin.
        return _Layer(2.0 * width, 4.0 * width, 4.0 * width + 4 * heads, (2 * 4 + 2 + 8 + 8 + masks) * width + 16.0)
    # A probability with its coin for each score; or a copy of the result, and a sum for each head.
    left = heads * length if config.attention_dropout > 0 else width + heads
    return _Layer(4.0 * width, 8.0 * width, 4.0 * (2 * width + left), 4.0 * (11 + masks) * width + 16.0)


def _embedding(config: ModelConfig, half: bool) -> float:
    """Bytes a token: three ids, the sum before the norm with its mean and spread, the dropout's mask."""
    mask = (1.0 if half else 4.0) if config.dropout > 0 else 0.0
    return 3 * 8.0 + 8.0 + (4.0 + mask) * config.width


def _head(config: ModelConfig, half: bool) -> float:
    """Bytes a predicted place: four states on the way, and V numbers in fp32 from which its gradient is made."""
    return (10.0 if half else 16.0) * config.width + 4.0 * config.vocab_size
