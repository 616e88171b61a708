"""Fill-mask: the answer of the Hugging Face fill-mask API and of transformers' pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.infer.engine import Engine, TorchEngine
from pubmedbert.infer.tokenizer import MASK, ModelTokenizer
from pubmedbert.model.locate import locate

PACK_TOKENS = 8192
"""Most word pieces computed at once."""
PACK_MASKS = 512
"""Most masks computed at once: their logits are `[M, V]`. One text may go beyond it."""

# What people write instead of [MASK]: "[mask]", "<mask>", "[ MASK ]", "{MASK}".
_ALMOST_MASK = re.compile(r"[\[<({]\s*mask\s*[\])>}]", re.IGNORECASE)


class Answer(TypedDict):
    """One word piece for one mask, as the Hugging Face API names its parts."""

    score: float
    """Probability among the whole vocabulary of the model."""
    token: int
    """Id of the word piece."""
    token_str: str
    """The word piece as text."""
    sequence: str
    """The text with this mask filled; where there are several masks, with [CLS], [SEP] and the other masks."""


Filled = list[Answer] | list[list[Answer]]
"""The API's answer to one text: the best pieces for its mask, or for each of its masks where it has several."""


class FillMask:
    """Fills [MASK] in texts, with the answers of transformers' fill-mask pipeline.

    Scores are a softmax over all V logits. Ids that the tokenizer does not know (a vocabulary padded to a round size)
    keep their share of the probability, as in transformers, but are never answered. Several masks in a text are
    filled independently of each other.

    Args:
        model: "bundled", a folder in Hugging Face layout, or a hub id; see `pubmedbert.model.locate`.

    Raises:
        InputError: the folder has no tokenizer, or one that does not fit the model.
        ModelError: there is no such model, or it cannot fill masks.
    """

    def __init__(self, model: str | Path = "bundled") -> None:
        folder = locate(str(model))
        self._engine: Engine = TorchEngine(folder)
        self._tokenizer = ModelTokenizer(folder, self._engine.vocab_size)

    def __call__(
        self, texts: str | Sequence[str], *, top_k: int = 5, targets: Sequence[str] | None = None
    ) -> Filled | list[Filled]:
        """Fill the masks of one or several texts, answered in the API's form.

        Args:
            texts: a text with at least one [MASK], or several.
            top_k: answers for each mask, fewer where there are fewer targets.
            targets: the only words to answer; each must be one word piece. Repeated words count once.

        Returns:
            For one text with one mask, the best answers; with several masks, one such list for each. For several texts
            a list of these; for a list of one text, that text's answer, as transformers has it.

        Raises:
            InputError: a text is empty, too long or has no [MASK]; a target is not one known word piece, or there are
                none; `top_k` is out of range.
        """
        return api_form(self.fill([texts] if isinstance(texts, str) else texts, top_k=top_k, targets=targets))

    def fill(
        self, texts: Sequence[str], *, top_k: int = 5, targets: Sequence[str] | None = None
    ) -> list[list[list[Answer]]]:
        """The answers for each mask of each text, in one form however many there are; otherwise as `__call__`."""
        candidates = self._candidates(top_k, targets)
        rows = [self._encode(text) for text in texts]
        filled = []
        for pack in self._packs(rows):
            where = [self._masks(row) for row in pack]
            logits = iter(self._engine.logits(pack, where))  # M times [V]
            filled += [
                [self._answers(row, place, next(logits), candidates, top_k) for place in places]
                for row, places in zip(pack, where, strict=True)
            ]
        return filled

    def _candidates(self, top_k: int, targets: Sequence[str] | None) -> NDArray[np.int64]:
        """The ids that may be answered, ascending."""
        if not 1 <= top_k <= self._tokenizer.size:
            raise InputError(f"top_k must be from 1 to {self._tokenizer.size} (the vocabulary), not {top_k}")
        if targets is None:
            return np.arange(self._tokenizer.size)
        words = [targets] if isinstance(targets, str) else targets
        if not words:
            raise InputError("targets is empty; name at least one word, or leave it out for the whole vocabulary")
        return np.array(sorted({self._tokenizer.piece(word) for word in words}))

    def _encode(self, text: str) -> list[int]:
        """The ids of a text that can be filled."""
        shown = repr(text if len(text) <= 60 else f"{text[:59]}…")
        if not text.strip():
            raise InputError(f"the text {shown} is empty; write a sentence with {MASK} in place of a word")
        ids = self._tokenizer.encode(text)
        if len(ids) > self._engine.max_positions:
            raise InputError(
                f"the text {shown} is too long: {len(ids)} word pieces with [CLS] and [SEP], "
                f"the model reads at most {self._engine.max_positions}"
            )
        if self._tokenizer.mask_id not in ids:
            almost = _ALMOST_MASK.search(text)
            hint = f"write {MASK} for {almost[0]!r}" if almost else f"write {MASK} in place of a word"
            raise InputError(f"the text {shown} has no {MASK}; {hint}")
        return ids

    def _masks(self, row: list[int]) -> list[int]:
        return [place for place, token in enumerate(row) if token == self._tokenizer.mask_id]

    def _packs(self, rows: list[list[int]]) -> Iterator[list[list[int]]]:
        """The rows in their order, as many at once as memory is meant to hold."""
        pack: list[list[int]] = []
        tokens = masks = 0
        for row in rows:
            row_masks = len(self._masks(row))
            if pack and (tokens + len(row) > PACK_TOKENS or masks + row_masks > PACK_MASKS):
                yield pack
                pack, tokens, masks = [], 0, 0
            pack.append(row)
            tokens, masks = tokens + len(row), masks + row_masks
        if pack:
            yield pack

    def _answers(
        self, row: list[int], place: int, logits: NDArray[np.float32], candidates: NDArray[np.int64], top_k: int
    ) -> list[Answer]:
        """The best `top_k` candidates for one mask of a row, by its `[V]` logits; equal scores in the order of ids."""
        powers = np.exp(logits.astype(np.float64) - logits.max())  # [V]
        scores = (powers / powers.sum())[candidates]
        single = row.count(self._tokenizer.mask_id) == 1
        answers: list[Answer] = []
        for index in np.argsort(-scores, kind="stable")[:top_k]:
            token = int(candidates[index])
            filled = [piece for piece in (*row[:place], token, *row[place + 1 :]) if piece != self._tokenizer.pad_id]
            answers.append(
                {
                    "score": float(scores[index]),
                    "token": token,
                    "token_str": self._tokenizer.decode([token]),
                    "sequence": self._tokenizer.decode(filled, skip_special_tokens=single),
                }
            )
        return answers


def api_form(filled: list[list[list[Answer]]]) -> Filled | list[Filled]:
    """Answers for each mask of each text as the API returns them: a list of one text or of one mask is left out."""
    shaped: list[Filled] = [masks[0] if len(masks) == 1 else masks for masks in filled]
    return shaped[0] if len(shaped) == 1 else shaped
