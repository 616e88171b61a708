"""What the texts of a request cost, told before they wait: those that cost more than the service gives are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pubmedbert.errors import InputError
from pubmedbert.explore.rows import Row, RowReader
from pubmedbert.infer.tokenizer import MASK
from pubmedbert.serve.limits import Limits, RefusalError
from pubmedbert.vocab import folder as vocabulary

VIEW, ROLLOUT, OCCLUSION, NEIGHBOURS = "explore/view", "explore/rollout", "explore/occlusion", "explore/neighbours"
EXPLORING = (VIEW, ROLLOUT, OCCLUSION, NEIGHBOURS)
"""The tasks of the explorer."""
_MANY_CHARACTERS = 20_000  # so many are tokenised beside the event loop
_MANY_SHOWN = 2_000  # so many of a row with the characters of each piece, which takes longer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Text:
    """One input of a request."""

    text: str
    pair: str | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The text, and the second one where there is one."""
        return (self.text,) if self.pair is None else (self.text, self.pair)

    @property
    def characters(self) -> int:
        """Of both."""
        return sum(map(len, self.parts))


class Weight(NamedTuple):
    """What a text costs."""

    tokens: int
    """Word pieces to compute."""
    alone: bool
    """Whether it is to share no call with others."""


class Weigher:
    """Weighs the texts for a model.

    Args:
        about: what `tasks.Loaded.about` says of the model.
        limits: what is accepted.
    """

    def __init__(self, about: Mapping[str, Any], limits: Limits) -> None:
        self._about = about
        self._limits = limits
        self._pieces = vocabulary.load(Path(about["folder"]))
        if about["max_tokens"] is None:  # fine-tuned: special tokens that a text spells are text
            self._pieces.encode_special_tokens = True
        self._mask = self._pieces.token_to_id(MASK)

    async def weights(self, task: str, texts: Sequence[Text], parameters: Mapping[str, Any]) -> list[Weight]:
        """What each text costs.

        Raises:
            RefusalError: one costs more than what is accepted.
        """
        if task in EXPLORING:
            shown = [await self.row(text) for text in texts]
            return [Weight(self._exploring(task, row, parameters), alone=True) for row in shown]
        named = parameters.get("targets") or []
        words = [named] if isinstance(named, str) else named
        given = [*(part for text in texts for part in text.parts), *words]
        encoded = await _aside(sum(map(len, given)), lambda: self._encode(given))
        targets = [len(ids) - 2 for ids in encoded[len(given) - len(words) :]]  # without [CLS] and [SEP]
        encodings = iter(encoded)
        weights = []
        for place, text in enumerate(texts):
            ids = [piece for _ in text.parts for piece in next(encodings)]
            where = "the text" if len(texts) == 1 else f"inputs[{place}]"
            weights.append(self._weigh(task, ids, parameters, targets, where))
        self._check_numbers(task, weights, parameters)
        return weights

    async def row(self, text: Text) -> Row:
        """A text as the explorer shows it.

        Raises:
            RefusalError: the model does not read it so.
        """
        try:
            row, _ = await _aside(text.characters, lambda: self._reader.read(text.text, text.pair), many=_MANY_SHOWN)
        except InputError as error:
            raise RefusalError(400, str(error)) from error
        return row

    @cached_property
    def _reader(self) -> RowReader:
        explore = self._about["explore"]
        literal = explore["kind"] == "tuned"
        return RowReader(self._pieces, explore["max_tokens"], pairs=explore["pairs"], literal=literal)

    def _exploring(self, task: str, row: Row, parameters: Mapping[str, Any]) -> int:
        """Word pieces of all passes of the explorer over a row."""
        length = len(row.tokens)
        if task == NEIGHBOURS:
            found: int = self._about["explore"]["found_pieces"] * int(parameters["count"])
            return min(length + found, self._limits.work)  # `explored` computes no more
        if task != OCCLUSION:
            return length
        words = row.words().values()
        work = length * (1 + (len(words) if parameters["words"] else sum(map(len, words))))
        if work > self._limits.work:
            shorter = "a shorter text" if parameters["words"] else "a shorter text, or hide whole words"
            sentence = (
                f"to hide each part of this text in turn is {work:,} word pieces of work, and this service does at "
                f"most {self._limits.work:,}, or less where the time ends before; send {shorter}"
            )
            raise RefusalError(400, sentence)
        return work

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._pieces.encode_batch_fast(list(texts))]

    def _weigh(
        self, task: str, ids: Sequence[int], parameters: Mapping[str, Any], targets: Sequence[int], where: str
    ) -> Weight:
        most = self._about["max_tokens"]
        if most is None:
            if len(ids) > self._limits.tokens:
                sentence = f"{where} has {len(ids)} word pieces; this service reads at most {self._limits.tokens}"
                raise RefusalError(400, sentence)
            return Weight(len(ids), alone=False)
        too_long = len(ids) > most
        if task != "fill-mask":
            return Weight(min(len(ids), most), alone=too_long and not parameters.get("truncate"))
        masks = ids.count(self._mask)
        if masks > self._limits.masks:
            sentence = f"{where} has {masks} times {MASK}; this service fills at most {self._limits.masks}"
            raise RefusalError(400, sentence)
        length = min(len(ids), most)
        work = max(length, masks * target_work(length, targets))
        if work > self._limits.work:
            sentence = (
                f"to score these targets in {where} is {work:,} word pieces of work, and this service does at most "
                f"{self._limits.work:,}; name fewer targets of several pieces, or send a shorter text"
            )
            raise RefusalError(400, sentence)
        return Weight(work, alone=too_long or not masks or "targets" in parameters)

    def _check_numbers(self, task: str, weights: Sequence[Weight], parameters: Mapping[str, Any]) -> None:
        """Refuse vectors for every word piece, where these are too many numbers."""
        if task != "feature-extraction" or parameters.get("pooling") != "none":
            return
        numbers = sum(weight.tokens for weight in weights) * self._about["width"]
        if numbers > self._limits.numbers:
            sentence = (
                f'pooling "none" would answer {numbers:,} numbers, and this service answers at most '
                f"{self._limits.numbers:,}; send fewer or shorter texts"
            )
            raise RefusalError(400, sentence)


async def _aside(characters: int, read: Callable[[], T], many: int = _MANY_CHARACTERS) -> T:
    """What reading some characters gives; where they are many, the event loop goes on meanwhile."""
    return await asyncio.to_thread(read) if characters > many else read()


def target_work(length: int, targets: Sequence[int]) -> int:
    """Word pieces to compute for a mask: each piece of a target is scored in a row that has the target in its place.

    Args:
        length: of the row with one [MASK] there.
        targets: the pieces of each target. Those of one piece share that row; where there are no others, they are
            scored in the text's own pass.
    """
    several = sum(pieces * (length + pieces - 1) for pieces in targets if pieces > 1)
    return several + length * any(pieces <= 1 for pieces in targets) if several else 0
