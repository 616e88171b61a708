"""What a model is trained for: masked words, or ELECTRA's detection, and the unigram model that must be beaten."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pubmedbert.model import hf
from pubmedbert.model.config import ModelConfig
from pubmedbert.model.encoder import initialise
from pubmedbert.model.flops import training_flops
from pubmedbert.model.heads import Bert
from pubmedbert.pretrain.electra import Electra
from pubmedbert.pretrain.recipe import Recipe
from pubmedbert.pretrain.term import Objective, Term
from pubmedbert.shards.samples import Ints, Pack


def objective(recipe: Recipe) -> Objective:
    """The objective a recipe asks for."""
    if recipe.objective == "electra":
        return Electra(recipe)
    return MaskedWords(next_sentence=recipe.objective == "mlm+nsp")


class MaskedWords:
    """The masked language model (Devlin et al. 2019, section 3.1), with or without next-sentence prediction."""

    main = "mlm"

    def __init__(self, *, next_sentence: bool = False) -> None:
        self.next_sentence = next_sentence

    def build(self, config: ModelConfig) -> Bert:
        """An encoder with the vocabulary head; for next sentences also the pooler and its two classes."""
        return Bert(config, pooler=self.next_sentence, next_sentence=self.next_sentence)

    def initialise(self, model: nn.Module, seed: int) -> None:
        """BERT's initial weights."""
        initialise(model, _bert(model).config, seed)

    def counts(self, pack: Pack) -> dict[str, int]:
        """Masked pieces, and rows of two segments."""
        places = {"mlm": len(pack.where)}
        return places | {"nsp": int((pack.random_next >= 0).sum())} if self.next_sentence else places

    def terms(self, model: nn.Module, pack: Pack, seed: int) -> dict[str, Term]:
        """Cross-entropy at the masked places and, for next sentences, of each row's [CLS]; both weigh the same.

        The last layer's states are computed at these places only, and the vocabulary head at the masked ones: about a
        seventh of the N tokens.
        """
        bert = _bert(model)
        torch.manual_seed(seed)
        asked = np.flatnonzero(pack.random_next >= 0) if self.next_sentence else np.zeros(0, np.int64)  # [R] rows
        first = pack.first[asked]  # [R] their [CLS]
        keep = np.sort(np.concatenate([pack.where, first]))  # [M + R], ascending
        states = _states(bert, pack, keep)  # [M + R, D]
        place = _tensor(np.searchsorted(keep, pack.where), states)  # [M]
        total, right = bert.loss(states[place], _tensor(pack.labels, states))
        terms = {"mlm": Term(total, right, len(pack.labels), 1.0)}
        if self.next_sentence:
            assert bert.pooler is not None  # by `build`
            assert bert.next_sentence is not None
            pooled = torch.tanh(bert.pooler.dense(states[_tensor(np.searchsorted(keep, first), states)]))  # [R, D]
            terms["nsp"] = _cross_entropy(bert.next_sentence(pooled), _tensor(pack.random_next[asked], states))
        return terms

    def flops(self, model: nn.Module, pack: Pack) -> float:
        """Of the masked language model; pooler and two classes are too small to count."""
        kept = np.diff(np.searchsorted(pack.where, np.cumsum([0, *pack.lengths]))).tolist()  # [B] masked in each row
        return training_flops(_bert(model).config, pack.lengths, len(pack.where), kept)

    def save(self, model: nn.Module, folder: Path) -> None:
        """As `transformers.BertForMaskedLM` would, or `BertForPreTraining` with next sentences."""
        hf.save(_bert(model), folder)

    def load(self, model: nn.Module, folder: Path) -> None:
        """Fill the model; every head it has must be there."""
        model.load_state_dict(hf.load(folder, need_vocabulary=True).state_dict())


def masked_loss(model: Bert, pack: Pack) -> tuple[Tensor, Tensor]:
    """Cross-entropy at the masked positions of a pack.

    Args:
        model: with a masked-language-model head.
        pack: rows, masks and labels.

    Returns:
        The sum of the losses in nats, and how many of the M predictions are right.
    """
    states = _states(model, pack, pack.where)  # [M, D]
    return model.loss(states, _tensor(pack.labels, states))


def unigram_loss(counts: Ints, packs: Sequence[Pack]) -> float:
    """Loss in nats per masked piece of a model that knows only how often each piece occurs.

    A run whose loss stays near this value has learned nothing from context.

    Args:
        counts: `[V]` occurrences in the training split; one is added to each.
        packs: whose labels are predicted.
    """
    if not any(len(part.labels) for part in packs):
        return float("nan")
    logp = np.log(counts + 1.0) - np.log(np.sum(counts + 1.0))
    labels = np.concatenate([part.labels for part in packs])
    return float(-logp[labels].mean())


def _states(model: Bert, pack: Pack, keep: Ints) -> Tensor:
    """`[M, D]` states of the last layer at the places to keep."""
    words = model.encoder.embeddings.words.weight
    if not len(keep):  # nothing is asked of this pack; a graph that gives every parameter it reaches a zero
        return words[:0] * 1.0
    tokens, positions, types, places = (
        _tensor(values, words) for values in (pack.tokens, pack.positions, pack.types, keep)
    )
    return model.encoder(tokens, positions, types, pack.lengths, keep=places)  # type: ignore[no-any-return]


def _cross_entropy(logits: Tensor, labels: Tensor) -> Term:
    """The term of `[M, C]` logits and `[M]` labels."""
    total = F.cross_entropy(logits.float(), labels, reduction="sum")
    return Term(total, (logits.argmax(1) == labels).sum(), len(labels), 1.0)


def _tensor(values: Ints, beside: Tensor) -> Tensor:
    return torch.from_numpy(values).to(beside.device)


def _bert(model: nn.Module) -> Bert:
    return cast(Bert, model)
