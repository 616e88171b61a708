"""ELECTRA: a small generator fills masks, a discriminator tells which pieces it changed (Clark et al. 2020, section 2).

Both are BERT encoders. They share their embeddings; the generator is narrower, so it reads them through a projection.
The discriminator, without its head, is the encoder that is fine-tuned: it has the shape and the names of a BERT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pubmedbert.model.config import ModelConfig
from pubmedbert.model.encoder import Embeddings, Encoder
from pubmedbert.model.heads import VocabularyHead
from pubmedbert.model.linear import Linear

_BLOCK = 256  # pieces of the vocabulary that are added up before one is looked for among them
_WHOLE = 2.0**40


def generator_config(config: ModelConfig, share: float) -> ModelConfig:
    """The shape of the generator of a discriminator: as deep, with a share of its heads, so of its width and FFN.

    Whole heads of the discriminator's own size, at least one (Clark et al. 2020, table 6: a third for base, a quarter
    for large).

    Args:
        config: of the discriminator.
        share: from above 0 to 1.
    """
    heads = max(1, round(config.heads * share))
    width = heads * (config.width // config.heads)
    return replace(config, width=width, heads=heads, ffn=max(1, round(config.ffn * width / config.width)), tied=True)


class Projected(Embeddings):
    """The embeddings of a model, E wide, shared and projected to the width D of another.

    Args:
        shared: the embeddings; they stay one and the same module.
        width: D.
    """

    def __init__(self, shared: Embeddings, width: int) -> None:
        nn.Module.__init__(self)  # it has no embeddings of its own
        for name, part in shared.named_children():
            self.add_module(name, part)
        self.project = Linear(shared.words.embedding_dim, width)

    def forward(self, tokens: Tensor, positions: Tensor, types: Tensor) -> Tensor:
        """Embed `[N]` tokens at `[N]` positions of `[N]` types as `[N, D]`."""
        return self.project(super().forward(tokens, positions, types))  # type: ignore[no-any-return]


class Generator(nn.Module):
    """A masked language model on embeddings that may be another model's.

    Args:
        config: its shape.
        embeddings: what it reads and predicts with; projected where their width E is not D.
    """

    def __init__(self, config: ModelConfig, embeddings: Embeddings) -> None:
        super().__init__()
        self.config = config
        width = embeddings.words.embedding_dim
        self.encoder = Encoder(config, embeddings if width == config.width else Projected(embeddings, config.width))
        self.vocabulary = VocabularyHead(config, width)

    def forward(
        self, tokens: Tensor, positions: Tensor, types: Tensor, lengths: Sequence[int], where: Tensor
    ) -> Tensor:
        """Score the vocabulary at `[M]` places of a pack, which is as for `Encoder.forward`: `[M, V]` logits."""
        states = self.encoder(tokens, positions, types, lengths, where)  # [M, D]
        return self.vocabulary(states, self.encoder.embeddings.words.weight)  # type: ignore[no-any-return]


class DetectionHead(nn.Module):
    """Says of each state whether its piece was replaced: dense, GELU, one logit."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = Linear(config.width, config.width)
        self.output = nn.Linear(config.width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """`[N, D]` states to `[N]` logits; above 0 is "replaced"."""
        return self.output(F.gelu(self.dense(hidden))).squeeze(1)  # type: ignore[no-any-return]


class Discriminator(nn.Module):
    """An encoder that tells which pieces of a text were replaced.

    Args:
        config: its shape.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.detection = DetectionHead(config)

    def forward(self, tokens: Tensor, positions: Tensor, types: Tensor, lengths: Sequence[int]) -> Tensor:
        """`[N]` logits of a pack, which is as for `Encoder.forward`."""
        return self.detection(self.encoder(tokens, positions, types, lengths))  # type: ignore[no-any-return]


class Electra(nn.Module):
    """A discriminator, and a generator that shares its embeddings, norm and all, as the authors' code does.

    Args:
        config: of the discriminator.
        share: the generator's share of its width.
    """

    def __init__(self, config: ModelConfig, share: float) -> None:
        super().__init__()
        self.config = config
        self.discriminator = Discriminator(config)
        self.generator = Generator(generator_config(config, share), self.discriminator.encoder.embeddings)


@torch.no_grad()
def sample(shares: Tensor, draws: Tensor) -> Tensor:
    """Draw a piece at each place, each as often as its share says.

    By the inverse of the distribution function: one number a place, where Gumbel noise (the authors' way to the same
    end) takes one for every piece of the vocabulary.

    Args:
        shares: `[M, V]` probabilities.
        draws: `[M]` uniform in [0, 1), fp64, multiples of 2^-40.

    Returns:
        `[M]` pieces.
    """
    sums = torch.stack([block.sum(1) for block in torch.split(shares, _BLOCK, dim=1)], dim=1)  # [M, V/256]
    block, draws = _look_up(sums, draws)
    places = block[:, None] * _BLOCK + torch.arange(_BLOCK, device=shares.device)  # [M, 256]
    beyond = places >= shares.shape[1]
    inner = shares.gather(1, places.masked_fill(beyond, 0)).masked_fill(beyond, 0)
    return (block * _BLOCK + _look_up(inner, draws)[0]).clamp(max=shares.shape[1] - 1)


def _look_up(shares: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """The `[M]` columns of `[M, K]` shares in which `[M]` draws fall, and how far into each, from 0 to below 1.

    In whole numbers: their running sums are exact, so the same on every device and for any number of threads.
    """
    whole = (shares.double() * _WHOLE).long()  # [M, K]
    ends = whole.cumsum(1)
    target = (draws * ends[:, -1]).long()  # [M]
    column = (ends <= target[:, None]).sum(1, keepdim=True).clamp(max=shares.shape[1] - 1)  # [M, 1]
    size = whole.gather(1, column)[:, 0]
    begin = ends.gather(1, column)[:, 0] - size
    return column[:, 0], (target - begin).double() / size
