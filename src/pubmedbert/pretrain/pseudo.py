"""Pseudo-perplexity: how surprised a masked language model is by whole sentences (Salazar et al. 2020, section 2).

Each piece of a sentence is masked in turn, and with it the later pieces of its word (Kauf and Ivanova 2023,
PLL-word-l2r): a rare word whose other pieces are in sight would give itself away. `fill-mask --targets` does the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from pubmedbert.errors import InputError
from pubmedbert.model.heads import Bert
from pubmedbert.pretrain.breakdown import scores
from pubmedbert.pretrain.feed import FROZEN_SEED
from pubmedbert.progress import counted
from pubmedbert.shards.read import Split
from pubmedbert.shards.samples import Bools, Ints, Pack, Special, order

PACK_TOKENS = 8192
"""Most word pieces in one forward pass."""
LEAST = 5
"""Pieces of the shortest sentence that is scored: shorter ones are mostly labels and remnants."""


@dataclass(frozen=True)
class Pseudo:
    """Pseudo-log-likelihoods of held-out sentences."""

    sentences: int
    words: int
    pieces: int
    log_likelihood: float
    """Mean over the sentences of their pseudo-log-likelihood, in nats."""
    perplexity: float
    """exp of the mean loss over all pieces."""
    sample: str
    """Hash of the sentences: only figures of equal hashes compare."""


def pseudo_perplexity(model: Bert, sentences: Sequence[Ints], special: Special) -> Pseudo:
    """Score sentences.

    Args:
        model: with a masked-language-model head.
        sentences: the pieces of each, without [CLS] and [SEP].
        special: the special pieces.
    """
    lines = [line for number, sentence in enumerate(sentences) for line in _lines(number, sentence, special)]
    lines.sort(key=lambda line: len(line.tokens))
    total = np.zeros(len(sentences))
    training = model.training
    model.eval()
    with torch.inference_mode():
        for part in counted(list(_parts(lines)), "masking pieces of held-out sentences in turn", "batches"):
            pack = _pack(part)
            logits = scores(model, pack)  # [R, V]
            labels = torch.from_numpy(pack.labels).to(logits.device)  # [R]
            losses = F.cross_entropy(logits, labels, reduction="none").double().cpu().numpy()
            np.add.at(total, [line.sentence for line in part], -losses)
    model.train(training)
    pieces = sum(len(sentence) for sentence in sentences)
    words = int(sum((~special.continuation[sentence]).sum() for sentence in sentences))
    digest = hashlib.sha256(b"".join(len(s).to_bytes(4, "little") + s.tobytes() for s in sentences)).hexdigest()[:16]
    mean = float(total.sum()) / pieces
    return Pseudo(len(sentences), words, pieces, float(total.mean()), math.exp(min(-mean, 700.0)), digest)


def frozen_sentences(split: Split, count: int, longest: int, special: Special) -> list[Ints]:
    """The same `count` sentences of a split every time; those with [UNK], too short or too long ones are passed over.

    Args:
        split: whose sentences are drawn.
        count: how many; fewer where there are not so many.
        longest: most pieces.
        special: the special pieces.

    Raises:
        InputError: there is no such sentence.
    """
    found: list[Ints] = []
    for number in order(len(split.sentences) - 1, FROZEN_SEED, 0):
        if len(found) == count:
            break
        sentence = split.tokens[split.sentences[number] : split.sentences[number + 1]].astype(np.int64)
        if LEAST <= len(sentence) <= longest and not special.special[sentence].any():
            found.append(sentence)
    if not found:
        raise InputError(f"the held-out documents have no sentence of {LEAST} to {longest} known word pieces")
    return found


@dataclass(frozen=True)
class _Line:
    """A sentence with one piece to be predicted."""

    sentence: int
    """Its number."""
    tokens: Ints
    """`[T]` with masks, [CLS] and [SEP]."""
    where: int
    label: int


def _lines(number: int, sentence: Ints, special: Special) -> Iterator[_Line]:
    """For each piece the sentence with that piece and the later ones of its word masked."""
    goes_on: Bools = special.continuation[sentence]
    for place in range(len(sentence)):
        end = place + 1
        while end < len(sentence) and goes_on[end]:
            end += 1
        tokens = np.concatenate([[special.cls], sentence, [special.sep]])
        tokens[place + 1 : end + 1] = special.mask
        yield _Line(number, tokens, place + 1, int(sentence[place]))


def _parts(lines: Sequence[_Line]) -> Iterator[list[_Line]]:
    part: list[_Line] = []
    size = 0
    for line in lines:
        if part and size + len(line.tokens) > PACK_TOKENS:
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line.tokens)
    if part:
        yield part


def _pack(lines: Sequence[_Line]) -> Pack:
    lengths = [len(line.tokens) for line in lines]
    first = np.cumsum(lengths) - lengths
    tokens = np.concatenate([line.tokens for line in lines])
    return Pack(
        tokens=tokens,
        positions=np.concatenate([np.arange(length) for length in lengths]),
        lengths=lengths,
        where=first + np.array([line.where for line in lines]),
        labels=np.array([line.label for line in lines]),
        types=np.zeros_like(tokens),
        samples=np.arange(len(lines)),
        random_next=np.full(len(lines), -1),
    )
