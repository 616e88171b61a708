"""A text, or two, as the row of word pieces that is looked into, with the characters of each piece."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

from tokenizers import Encoding, Tokenizer

from pubmedbert.errors import InputError
from pubmedbert.infer.labels.rows import SHORTEST_ROW
from pubmedbert.infer.labels.words import Words, spaced
from pubmedbert.infer.tokenizer import valid
from pubmedbert.vocab.folder import PREFIX

NO_WORD = -1


@dataclass(frozen=True, slots=True)
class Token:
    """A word piece of a row."""

    id: int
    """As the text has it: of a place that is masked, the piece that is hidden."""
    piece: str
    """As the vocabulary writes it."""
    text: int
    """The text it is of: 0, or 1 for the second."""
    start: int
    """Its first character in that text."""
    end: int
    """One past its last; a special token has none: both are 0."""
    word: int
    """The number of its word, counted through both texts; `NO_WORD` for [CLS] and [SEP]."""
    special: bool
    """Whether it is [CLS] or [SEP], which belong to no text."""
    masked: bool = False
    """Whether [MASK] stands in its place."""


@dataclass(frozen=True, slots=True)
class Row:
    """`[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`."""

    tokens: tuple[Token, ...]
    """T of them."""
    second: int
    """The place where the second text begins; T where there is none."""

    @property
    def masks(self) -> tuple[int, ...]:
        """The places that are masked, ascending."""
        return tuple(place for place, token in enumerate(self.tokens) if token.masked)

    def ids(self, mask_id: int, hidden: Iterable[int] = ()) -> list[int]:
        """What the model reads.

        Args:
            mask_id: of [MASK].
            hidden: places that are masked beside those that are.
        """
        found = [mask_id if token.masked else token.id for token in self.tokens]
        for place in hidden:
            found[place] = mask_id
        return found

    def words(self) -> dict[int, list[int]]:
        """The places of each word, by its number."""
        found: dict[int, list[int]] = {}
        for place, token in enumerate(self.tokens):
            if not token.special:
                found.setdefault(token.word, []).append(place)
        return found

    def indexed_word(self, place: int) -> list[int]:
        """The places of the word at a place as an index has words: as BERT's pre-tokeniser parts them."""
        first, end = place, place + 1
        while first and self.tokens[first].piece.startswith(PREFIX):
            first -= 1
        while end < len(self.tokens) and self.tokens[end].piece.startswith(PREFIX):
            end += 1
        return list(range(first, end))


class RowReader:
    """Texts to rows.

    Args:
        pieces: the tokenizer of the model.
        longest: the longest row, [CLS] and [SEP] included.
        pairs: whether the model tells two segments apart.
        literal: whether special tokens that a text spells are text, as fine-tuned models read them.
        words: how words are found; see `pubmedbert.infer.labels.words`.

    Raises:
        InputError: `longest` is too short to hold anything.
    """

    def __init__(self, pieces: Tokenizer, longest: int, *, pairs: bool, literal: bool, words: Words = "pieces") -> None:
        check_longest(longest)
        self._pieces = deepcopy(pieces)  # the setting below must not reach whoever fills masks
        self._pieces.encode_special_tokens = literal
        self._longest = longest
        self._pairs = pairs
        self._words = words
        self._cls, self._sep = self._special("[CLS]"), self._special("[SEP]")

    def _special(self, name: str) -> Token:
        number = self._pieces.token_to_id(name)
        assert number is not None  # a tokenizer that lacks one is not loaded
        return Token(number, name, 0, 0, 0, NO_WORD, special=True)

    def read(self, text: str, text_b: str | None = None, masks: Sequence[int] = ()) -> tuple[Row, list[str]]:
        """The row of a text, or of two, with some places masked.

        What is longer than a row is cut: the second text first, until the first has half the room.

        Args:
            text: what is read.
            text_b: a second text, or none.
            masks: places in the row. Those where no word stands are left out.

        Returns:
            The row, and a sentence on each thing that was not done as asked.

        Raises:
            InputError: a text is not valid Unicode, or there are two and the model reads one.
        """
        if text_b is not None and not self._pairs:
            raise InputError("this model reads one text at a time, not a pair; leave the second out")
        texts = [valid(text)] if text_b is None else [valid(text), valid(text_b)]
        found, whole = self._cut(texts)
        notices = []
        if (shown := sum(map(len, found))) < whole:
            notices.append(f"only the first {shown} of {whole} word pieces are shown")
        firsts = [[start for start, _ in spaced(one)] if self._words == "spaces" else None for one in texts]
        first = _tokens(found[0], 0, 0, firsts[0])
        tokens = [self._cls, *first, self._sep]
        second = len(tokens)
        if text_b is not None:
            after = 1 + max((token.word for token in first), default=NO_WORD)
            tokens += [*_tokens(found[1], 1, after, firsts[1]), replace(self._sep, text=1)]
        known = {place for place in masks if 0 <= place < len(tokens) and not tokens[place].special}
        if strange := sorted(set(masks) - known):
            notices.append(f"no word stands at {_listed(strange)}, which cannot be masked")
        for place in known:
            tokens[place] = replace(tokens[place], masked=True)
        return Row(tuple(tokens), second), notices

    def _cut(self, texts: list[str]) -> tuple[list[Encoding], int]:
        """The pieces of a text, or of two, that a row has room for, and how many there are in all.

        What is left out never becomes a Python object, and a batch, even of one, leaves other threads to run meanwhile.
        """
        found = self._pieces.encode_batch(texts, add_special_tokens=False)
        lengths = [len(encoding) for encoding in found]
        room = self._longest - 1 - len(texts)
        kept = [room]
        if len(texts) == 2:
            first = min(lengths[0], max(room // 2, room - lengths[1]))
            kept = [first, room - first]
        for encoding, most in zip(found, kept, strict=True):
            encoding.truncate(most)
        return found, sum(lengths)


def check_longest(longest: int) -> None:
    """Refuse a length of rows that hold little but [CLS] and [SEP].

    Raises:
        InputError: it is too short.
    """
    if longest < SHORTEST_ROW:
        raise InputError(f"the longest row must be at least {SHORTEST_ROW} word pieces, not {longest}")


def _tokens(encoding: Encoding, text: int, first_word: int, firsts: Sequence[int] | None) -> list[Token]:
    """The pieces of a text, whose words begin at some characters, or where the pre-tokeniser parted them.

    A special token that is spelled in it is a word of its own.
    """
    words: dict[object, int] = {}
    found = []
    for place, (piece, name, word, (start, end)) in enumerate(
        zip(encoding.ids, encoding.tokens, encoding.word_ids, encoding.offsets, strict=True)
    ):
        key = bisect_right(firsts, start) if firsts else ("spelled", place) if word is None else word
        number = words.setdefault(key, len(words))
        found.append(Token(piece, name, text, start, end, first_word + number, special=False))
    return found


def _listed(places: Sequence[int]) -> str:
    shown = ", ".join(map(str, places[:5]))
    return f"place{'s' if len(places) > 1 else ''} {shown}" + (" and others" if len(places) > 5 else "")
