"""A text with masks, as ids and with the place of each mask in both."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pubmedbert.errors import InputError
from pubmedbert.infer.masks.decode import Blank, Puzzle
from pubmedbert.infer.tokenizer import MASK, ModelTokenizer

MOST_SHAPES = 64
"""Most combinations of word lengths that are tried for the masks of a text together."""

# What people write instead of [MASK]: "[mask]", "<mask>", "[ MASK ]", "{MASK}".
_ALMOST_MASK = re.compile(r"[\[<({]\s*mask\s*[\])>}]", re.IGNORECASE)


class TextError(InputError):
    """A text that cannot be filled; `index` says which of those given."""

    index: int = 0


@dataclass(frozen=True, slots=True)
class MaskedText:
    """A text that can be filled."""

    text: str
    row: tuple[int, ...]
    """Its ids as `[CLS] text [SEP]`."""
    places: tuple[int, ...]
    """Where its masks are in the row, ascending; at least one."""
    spans: tuple[tuple[int, int], ...]
    """Where they are in the text: the first character, and one past the last."""
    glued: tuple[bool, ...]
    """Whether each touches the word or the mask before it, as in "imat[MASK]": its pieces continue that word."""

    def puzzle(self, lengths: Mapping[int, int]) -> Puzzle:
        """Some of the masks to be filled together with words of so many pieces; the others stay as they are.

        Args:
            lengths: the number of pieces of the word for each mask that is filled, in ascending order of the masks.
        """
        row = list(self.row)
        blanks = []
        for mask, length in lengths.items():
            start = self.places[mask] + len(row) - len(self.row)
            row[start : start + 1] = [row[start]] * length
            blanks.append(Blank(tuple(range(start, start + length)), self.glued[mask]))
        return Puzzle(tuple(row), tuple(blanks))

    def written(self, words: Sequence[str]) -> str:
        """The text as it was given, its masks replaced."""
        parts, end = [], 0
        for (start, after), word in zip(self.spans, words, strict=True):
            parts += [self.text[end:start], word]
            end = after
        return "".join([*parts, self.text[end:]])


def read_all(
    texts: Sequence[str], tokenizer: ModelTokenizer, max_positions: int, lengths: Sequence[int] = (1,), *, joint: bool
) -> list[MaskedText]:
    """Find the masks of several texts.

    Args:
        texts: what is to be filled.
        tokenizer: of the model.
        max_positions: the longest row the model reads, [CLS] and [SEP] included.
        lengths: the numbers of pieces that may stand in place of a mask.
        joint: whether they may do so in place of all masks at once, in any combination.

    Raises:
        TextError: one of them cannot be filled.
    """
    found = []
    longest = max(lengths)
    for index, text in enumerate(texts):
        try:
            one = read(text, tokenizer, max_positions)
            masks = len(one.places) if joint else 1
            if len(lengths) ** masks > MOST_SHAPES:
                raise TextError(
                    f"words of {len(lengths)} different lengths for the {masks} masks of the text {shown(text)} make "
                    f"{len(lengths) ** masks:,} combinations, and at most {MOST_SHAPES} are tried; ask for fewer pieces"
                )
            where = f", {longest} in place of {'each' if joint else 'a'} mask"
            check_length(text, len(one.row) + masks * (longest - 1), max_positions, where)
        except TextError as error:
            error.index = index
            raise
        found.append(one)
    return found


def read(text: str, tokenizer: ModelTokenizer, max_positions: int) -> MaskedText:
    """Find the masks of a text.

    Args:
        text: what is to be filled.
        tokenizer: of the model.
        max_positions: the longest row the model reads, [CLS] and [SEP] included.

    Raises:
        TextError: the text is empty, too long, no valid Unicode or has no [MASK].
    """
    if not text.strip():
        raise TextError(f"the text {shown(text)} is empty; write a sentence with {MASK} in place of a word")
    try:
        ids, offsets = tokenizer.encode_with_offsets(text)
    except InputError as error:
        raise TextError(str(error)) from error
    check_length(text, len(ids), max_positions)
    places = tuple(place for place, piece in enumerate(ids) if piece == tokenizer.mask_id)
    if not places:
        almost = _ALMOST_MASK.search(text)
        hint = f"write {MASK} for {almost[0]!r}" if almost else f"write {MASK} in place of a word"
        raise TextError(f"the text {shown(text)} has no {MASK}; {hint}")
    spans = tuple(offsets[place] for place in places)
    return MaskedText(text, tuple(ids), places, spans, tuple(tokenizer.glued(text, spans)))


def check_length(text: str, pieces: int, max_positions: int, what: str = "") -> None:
    """Refuse a text that would be longer than the model reads.

    Raises:
        TextError: it is; `what` says with what in place of the masks.
    """
    if pieces > max_positions:
        raise TextError(
            f"the text {shown(text)} is too long: {pieces} word pieces with [CLS] and [SEP]{what}, "
            f"the model reads at most {max_positions}"
        )


def shown(text: str) -> str:
    """A text as errors quote it."""
    return repr(text if len(text) <= 60 else f"{text[:59]}…")
