"""Words and texts as the rows a fine-tuned encoder reads: windows over what is too long, and packs of rows.

Nothing here needs torch.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.infer.labels.words import Words, spaced
from pubmedbert.infer.tokenizer import ModelTokenizer, valid

Long = Literal["windows", "truncate"]
"""What is done with a text that is longer than a row: overlapping windows over all of it, or its beginning only."""
SHORTEST_ROW = 8
"""The least `max_length`: shorter rows hold little but [CLS] and [SEP]."""
_AT_ONCE = 1000  # texts that the tokenizer is asked of together
_OVERLAP = 4  # neighbouring windows share one part in four of their room


@dataclass(frozen=True, slots=True)
class Row:
    """A row of word pieces: an example, or a window of one."""

    tokens: tuple[int, ...]
    """Ids, [CLS] and [SEP] included."""
    second: int
    """Place where segment B begins; `len(tokens)` where there is none."""
    example: int
    """Number of the example it is of."""
    where: tuple[int, ...] = ()
    """Places of the word pieces to classify: the first piece of a word stands for it. None at text level."""
    words: tuple[int, ...] = ()
    """The word each of them stands for, as its number in the example."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Rows one behind the other, sorted by length: the arguments of `pubmedbert.model.tuned.Tuned`."""

    tokens: NDArray[np.int64]
    """`[N]` ids."""
    positions: NDArray[np.int64]
    """`[N]` places within each row, from 0."""
    types: NDArray[np.int64]
    """`[N]` segments: 0, and 1 in segment B."""
    lengths: list[int]
    """Tokens in each of the B rows."""
    where: NDArray[np.int64]
    """`[M]` places in the pack to classify, row by row."""
    owners: NDArray[np.int64]
    """`[B]` number, 0 to E - 1, of the example each row is of."""
    examples: list[int]
    """`[E]` the examples, in the order in which the rows were given."""
    rows: list[Row]
    """`[B]` the rows in the order of the pack."""


@dataclass(frozen=True, slots=True)
class FoundPieces:
    """The word pieces of a running text, each an example's word of its own."""

    rows: list[Row]
    tokens: list[str]
    """As the vocabulary writes them."""
    spans: list[tuple[int, int]]
    """The characters `[start, end)` of each."""
    words: list[int]
    """The number of the word each is of, as the pre-tokeniser finds words."""


class RowEncoder:
    """Words and texts to rows.

    Special tokens inside a text are text: "[SEP]" in an abstract ends no segment, as in pretraining.

    Args:
        tokenizer: of the model.
        max_length: the longest row, [CLS] and [SEP] included; at most the model's `max_positions`.

    Raises:
        InputError: `max_length` is too short to hold anything.
    """

    def __init__(self, tokenizer: ModelTokenizer, max_length: int) -> None:
        if max_length < SHORTEST_ROW:
            raise InputError(f"max_length must be at least {SHORTEST_ROW} word pieces, not {max_length}")
        self.max_length = max_length
        self._pieces = deepcopy(tokenizer.pieces)  # the setting below must not reach whoever fills masks
        self._pieces.encode_special_tokens = True
        ids = self._pieces.get_vocab(with_added_tokens=True)
        self._cls, self._sep, self._unknown = ids["[CLS]"], ids["[SEP]"], ids["[UNK]"]

    def words(self, words: Sequence[str], example: int) -> list[Row]:
        """Rows of words that are given one by one; see `words_batch`."""
        return self._word_rows(next(self._words_pieces([words])), example)

    def words_batch(self, sentences: Sequence[Sequence[str]]) -> list[list[Row]]:
        """Rows of the words of each example, numbered from 0.

        Every word is classified once, by its first piece, in the window where it is furthest from a cut. Windows begin
        and end between words. A word without any piece (a control character) is read as [UNK]; of a word longer than a
        row the beginning is read.

        Raises:
            InputError: a word is not valid Unicode.
        """
        return [self._word_rows(pieces, example) for example, pieces in enumerate(self._words_pieces(sentences))]

    def found_words_batch(
        self, texts: Sequence[str], words: Words = "pieces"
    ) -> list[tuple[list[Row], list[tuple[int, int]]]]:
        """The rows of each running text, and the words that are found in it.

        Args:
            texts: any.
            words: how they are found: by the tokenizer, or between spaces.

        Returns:
            For each text its rows, as `words_batch` makes them, and of each word the characters `[start, end)`.

        Raises:
            InputError: a text is not valid Unicode.
        """
        if words == "spaces":
            spans_of = [list(spaced(valid(text))) for text in texts]
            given = [[text[slice(*span)] for span in spans] for text, spans in zip(texts, spans_of, strict=True)]
            return list(zip(self.words_batch(given), spans_of, strict=True))
        found = []
        encodings = self._encodings([valid(text) for text in texts])
        for example, encoding in enumerate(encodings):
            pieces: dict[int, list[int]] = {}
            spans: dict[int, tuple[int, int]] = {}
            for piece, word, (start, end) in zip(encoding.ids, encoding.word_ids, encoding.offsets, strict=True):
                if word is not None:  # as special tokens would be, which are not added here
                    pieces.setdefault(word, []).append(piece)
                    spans[word] = (spans.get(word, (start, end))[0], end)
            found.append((self._word_rows(list(pieces.values()), example), list(spans.values())))
        return found

    def found_pieces_batch(self, texts: Sequence[str]) -> list[FoundPieces]:
        """The rows of each running text in which every word piece is classified, where it is furthest from a cut.

        Raises:
            InputError: a text is not valid Unicode.
        """
        encodings = self._encodings([valid(text) for text in texts])
        return [
            FoundPieces(
                self._word_rows([[piece] for piece in encoding.ids], example),
                encoding.tokens,
                encoding.offsets,
                [word for word in encoding.word_ids if word is not None],  # as those of special tokens would be
            )
            for example, encoding in enumerate(encodings)
        ]

    def text(self, text: str, text_b: str | None, example: int, long: Long = "windows") -> list[Row]:
        """Rows of a text, or of two; see `text_batch`."""
        a, b = next(self._texts_pieces([(text, text_b)]))
        return self._text_rows(a, b, example, long)

    def text_batch(self, texts: Sequence[tuple[str, str | None]], long: Long = "windows") -> list[list[Row]]:
        """Rows `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]` of each example, numbered from 0.

        Windows go over b, with a (the question) before each; over a where there is no b. An a that leaves b less than
        it needs is cut, to no less than half the room.

        Args:
            texts: a and b of each example; None where there is no b.
            long: "truncate" keeps the first window only.

        Raises:
            InputError: a text is not valid Unicode.
        """
        pairs = self._texts_pieces(texts)
        return [self._text_rows(a, b, example, long) for example, (a, b) in enumerate(pairs)]

    def _words_pieces(self, sentences: Sequence[Sequence[str]]) -> Iterator[list[list[int]]]:
        """The pieces of each word of each sentence, at least one."""
        given = [[valid(word) for word in words] for words in sentences]
        for words, encoding in zip(given, self._encodings(given, is_pretokenized=True), strict=True):
            pieces: list[list[int]] = [[] for _ in words]
            for piece, word in zip(encoding.ids, encoding.word_ids, strict=True):
                if word is not None:
                    pieces[word].append(piece)
            yield [word or [self._unknown] for word in pieces]

    def _texts_pieces(self, texts: Sequence[tuple[str, str | None]]) -> Iterator[tuple[list[int], list[int] | None]]:
        encodings = self._encodings([valid(text) for pair in texts for text in pair if text is not None])
        return ((next(encodings).ids, None if b is None else next(encodings).ids) for _, b in texts)

    def _encodings(self, given: Sequence[Any], *, is_pretokenized: bool = False) -> Iterator[Any]:
        """What the tokenizer says of each text, or list of words, some at a time: it says much."""
        for first in range(0, len(given), _AT_ONCE):
            part = list(given[first : first + _AT_ONCE])
            yield from self._pieces.encode_batch(part, is_pretokenized=is_pretokenized, add_special_tokens=False)

    def _word_rows(self, pieces: Sequence[Sequence[int]], example: int) -> list[Row]:
        room = self.max_length - 2
        pieces = [word[:room] for word in pieces]
        ends = [0, *accumulate(map(len, pieces))]  # pieces before each word
        windows = _windows(ends, room)
        rows = []
        for (first, end), words in zip(windows, _shared_out(windows, ends), strict=True):
            if words or len(windows) == 1:
                tokens = (self._cls, *chain.from_iterable(pieces[first:end]), self._sep)
                where = tuple(1 + ends[word] - ends[first] for word in words)
                rows.append(Row(tokens, len(tokens), example, where, tuple(words)))
        return rows

    def _text_rows(self, a: list[int], b: list[int] | None, example: int, long: Long) -> list[Row]:
        if b is None:
            before, cut, room = [self._cls], a, self.max_length - 2
        else:
            room = self.max_length - 3
            a = a[: max(room // 2, room - len(b))]
            before, cut, room = [self._cls, *a, self._sep], b, room - len(a)
        rows = []
        for first, end in _windows(range(len(cut) + 1), room):
            tokens = (*before, *cut[first:end], self._sep)
            rows.append(Row(tokens, len(tokens) if b is None else len(before), example))
        return rows[:1] if long == "truncate" else rows


def pack(rows: Sequence[Row]) -> Pack:
    """Put rows one behind the other, sorted by length; rows of one length keep their order.

    Args:
        rows: B rows; for a text-level head all windows of an example must be among them.
    """
    owners: dict[int, int] = {}
    for row in rows:
        owners.setdefault(row.example, len(owners))
    ordered = sorted(rows, key=lambda row: len(row.tokens))
    lengths = np.array([len(row.tokens) for row in ordered], dtype=np.int64)  # [B]
    starts = lengths.cumsum() - lengths  # [B]
    seconds = np.array([row.second for row in ordered], dtype=np.int64)  # [B]
    positions = np.arange(lengths.sum()) - starts.repeat(lengths)  # [N]
    where = [start + place for start, row in zip(starts.tolist(), ordered, strict=True) for place in row.where]
    return Pack(
        tokens=np.fromiter(chain.from_iterable(row.tokens for row in ordered), np.int64, len(positions)),
        positions=positions,
        types=(positions >= seconds.repeat(lengths)).astype(np.int64),
        lengths=lengths.tolist(),
        where=np.array(where, dtype=np.int64),
        owners=np.array([owners[row.example] for row in ordered], dtype=np.int64),
        examples=list(owners),
        rows=ordered,
    )


def batches(examples: Sequence[Sequence[Row]], budget: int) -> Iterator[list[int]]:
    """Examples of similar length together, the shortest first.

    Args:
        examples: the rows of each.
        budget: most word pieces in a batch; a longer example is a batch of its own.

    Yields:
        Numbers of examples.
    """
    sizes = [sum(len(row.tokens) for row in rows) for rows in examples]
    batch: list[int] = []
    tokens = 0
    for example in sorted(range(len(examples)), key=sizes.__getitem__):
        if batch and tokens + sizes[example] > budget:
            yield batch
            batch, tokens = [], 0
        batch.append(example)
        tokens += sizes[example]
    if batch:
        yield batch


def _windows(ends: Sequence[int], room: int) -> list[tuple[int, int]]:
    """Overlapping windows `[first, end)` over words; the last one reaches back as far as its room allows.

    Args:
        ends: pieces before each word and, at the end, in all: ascending from 0, by no more than `room` at a time.
        room: most pieces in a window.
    """
    windows = []
    first = 0
    while ends[-1] - ends[first] > room:
        end = bisect_right(ends, ends[first] + room) - 1
        windows.append((first, end))
        first = max(first + 1, bisect_left(ends, ends[end] - room // _OVERLAP))
    windows.append((bisect_left(ends, ends[-1] - room), len(ends) - 1))
    return windows


def _shared_out(windows: Sequence[tuple[int, int]], ends: Sequence[int]) -> Iterator[range]:
    """The words of each window that are further from a cut in it than in any other: there they have most context.

    Of two neighbouring windows that is the one whose cut is further away, so their words part in the middle of what
    they share. Windows begin and end in ascending order: no other pair needs comparing. A window may get no word.
    """
    words = range(len(ends) - 1)
    start = 0
    for (_, end), (first, _) in pairwise(windows):
        middle = ends[first] + ends[end]
        stop = bisect_right(words, middle, key=lambda word: ends[word] + ends[word + 1])
        yield words[start:stop]
        start = stop
    yield words[start:]
