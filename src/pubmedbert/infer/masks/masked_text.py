"""A text with masks, as ids and with the place of each mask in both."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pubmedbert.errors import InputError
from pubmedbert.infer.masks.decode import Blank, Puzzle
from pubmedbert.infer.tokenizer import MASK, PIECE_CHARACTERS, ModelTokenizer

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
    begins: tuple[int, ...]
    """Where in the row that word begins, or, of a mask that touches another, where that one is; its own place where it
    touches nothing, or what the model cannot read."""

    def puzzle(self, lengths: Mapping[int, int]) -> Puzzle:
        """Some of the masks to be filled together with words of so many pieces; the others stay as they are.

        Args:
            lengths: the number of pieces of the word for each mask that is filled, in ascending order of the masks.
        """
        row = list(self.row)
        blanks: list[Blank] = []
        starts: dict[int, int] = {}  # of the words of the masks that are filled, by their places
        for mask, length in lengths.items():
            moved = len(row) - len(self.row)
            place, begin = self.places[mask], self.begins[mask]
            start = place + moved
            row[start : start + 1] = [row[start]] * length
            # What is glued to a mask that stays continues something unknown.
            starts[place] = starts.get(begin, start) if self.row[begin] == self.row[place] else begin + moved
            blanks.append(Blank(tuple(range(start, start + length)), self.glued[mask], starts[place]))
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
    if len(text) > PIECE_CHARACTERS * max_positions:  # before it is cut up, which takes 200 times its size
        raise TextError(
            f"the text {shown(text)} is too long: {len(text):,} characters, "
            f"the model reads at most {max_positions} word pieces"
        )
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
    spans = tuple(_trimmed(text, *offsets[place]) for place in places)
    glued = tuple(tokenizer.glued(text, spans))
    begins = tuple(
        _begin(ids, place, tokenizer) if stuck else place for place, stuck in zip(places, glued, strict=True)
    )
    return MaskedText(text, tuple(ids), places, spans, glued, begins)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The characters of a mask without blanks beside it, which some tokenizers count among them."""
    found = text[start:end]
    return start + len(found) - len(found.lstrip()), end - len(found) + len(found.rstrip())


def _begin(ids: Sequence[int], place: int, tokenizer: ModelTokenizer) -> int:
    """Where the word begins that a glued mask continues; see `MaskedText.begins`."""
    start = place - 1
    while tokenizer.continues(ids[start]):
        start -= 1
    return place if ids[start] == tokenizer.unknown_id else start


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
