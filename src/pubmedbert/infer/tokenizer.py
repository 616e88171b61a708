"""The tokenizer of a model folder: checked against the model, and text back from ids as transformers writes it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.vocab import folder as vocabulary

MASK = "[MASK]"
PAD = "[PAD]"
PIECE_CHARACTERS = 64
"""Most characters of a text for each word piece that a model reads: a longer one is not of words, and is not cut up."""


@dataclass(frozen=True, slots=True)
class PieceKinds:
    """The ids that can stand in a word, each kind ascending; special tokens stand in none."""

    first: NDArray[np.int64]
    """Pieces that begin a word."""
    later: NDArray[np.int64]
    """Pieces that continue one: ## pieces."""


class ModelTokenizer:
    """Word pieces of a model: text to ids and back.

    Args:
        folder: a model in Hugging Face layout.
        vocab_size: V, the size of the model's vocabulary; ids beyond the tokenizer's are allowed (padding of V).

    Raises:
        InputError: the folder holds no BERT tokenizer, or one with more entries than the model has.
    """

    def __init__(self, folder: Path, vocab_size: int) -> None:
        self.pieces = vocabulary.load(folder)
        self.size: int = self.pieces.get_vocab_size(with_added_tokens=True)
        if self.size > vocab_size:
            raise InputError(
                f"{folder}: the tokenizer has {self.size:,} entries, the model's vocabulary only {vocab_size:,}; "
                "tokenizer and model do not belong together"
            )
        self.mask_id = self._id(MASK)
        self.pad_id = self._id(PAD)
        self.unknown_id = self._id(vocabulary.UNKNOWN)
        self._tidy = bool(vocabulary.tokenizer_config(folder).get("clean_up_tokenization_spaces", False))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that it does: two tokenizers that have it in common cut every text alike."""
        return hashlib.sha256(vocabulary.dump(self.pieces).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """The ids of a text as `[CLS] text [SEP]`.

        Raises:
            InputError: the text is not valid Unicode.
        """
        return self.encode_with_offsets(text)[0]

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of `[CLS] text [SEP]`, and where each stands in the text: its first character, and one past its last.

        Raises:
            InputError: the text is not valid Unicode.
        """
        encoding = self.pieces.encode(valid(text))
        return encoding.ids, encoding.offsets

    def glued(self, text: str, spans: Sequence[tuple[int, int]]) -> Iterator[bool]:
        """Whether each span, were it a letter, would continue the word before it.

        Args:
            text: valid Unicode.
            spans: of characters, ascending, apart from each other.
        """
        parts, starts, end = [], [], 0
        for start, after in spans:
            parts += [text[end:start], "a"]
            starts.append(sum(map(len, parts)) - 1)
            end = after
        encoding = self.pieces.encode("".join([*parts, text[end:]]), add_special_tokens=False)
        for start in starts:
            word = encoding.char_to_word(start)
            chars = None if word is None else encoding.word_to_chars(word)
            yield chars is not None and chars[0] < start

    def joins(self, word: str) -> bool:
        """Whether a word that is written right behind a letter would continue what ends with it."""
        encoding = self.pieces.encode(f"a{word}", add_special_tokens=False)
        return bool(encoding.char_to_word(1) == encoding.char_to_word(0))

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of some ids, spaced as transformers spaces it."""
        text: str = self.pieces.decode(list(ids), skip_special_tokens=skip_special_tokens)
        return _tidied(text) if self._tidy else text

    def target(self, target: str) -> tuple[int, ...]:
        """The pieces of a word, or of several.

        A piece is taken as it is written ("##mab"); anything else is normalised as text is, so case does not matter
        to an uncased vocabulary.

        Raises:
            InputError: it is empty, or the vocabulary cannot write it.
        """
        exact: int | None = self.pieces.token_to_id(valid(target))
        if exact is not None:
            return (exact,)
        encoding = self.pieces.encode(target, add_special_tokens=False)
        if not encoding.ids:
            raise InputError(f"the target {target!r} is empty; name a word")
        for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True):
            if token == vocabulary.UNKNOWN:
                raise InputError(
                    f"the target {target!r} is unknown to this model, which cannot read {target[start:end]!r}"
                )
            if token in vocabulary.SPECIALS:
                raise InputError(f"the target {target!r} holds {token}, which is no word; leave it out")
        return tuple(encoding.ids)

    def continues(self, piece: int) -> bool:
        """Whether a piece continues a word: whether it is written with ##."""
        return str(self.pieces.id_to_token(piece)).startswith(vocabulary.PREFIX)

    @cached_property
    def kinds(self) -> PieceKinds:
        """Which pieces begin a word, and which continue one."""
        first: list[int] = []
        later: list[int] = []
        for token, piece in self.pieces.get_vocab(with_added_tokens=True).items():
            if token not in vocabulary.SPECIALS:
                (later if token.startswith(vocabulary.PREFIX) else first).append(piece)
        return PieceKinds(np.array(sorted(first), dtype=np.int64), np.array(sorted(later), dtype=np.int64))

    def spells(self, ids: Sequence[int]) -> bool:
        """Whether text written with these pieces would be cut into them again: WordPiece takes the longest it finds.

        A word has one spelling that the model has been trained on; "ima ##tinib" is none where "imatinib" is a piece.
        """
        found: list[int] = self.pieces.encode(self.decode(ids), add_special_tokens=False).ids
        return found == list(ids)

    def _id(self, token: str) -> int:
        """The id of a special token: a tokenizer that lacks one is not loaded."""
        found: int | None = self.pieces.token_to_id(token)
        assert found is not None
        return found


def valid(text: str) -> str:
    """The text, if it can be written as UTF-8: bytes that are not UTF-8 reach Python as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the text {text!a} is not valid Unicode; it must be UTF-8") from error
    return text


def _tidied(text: str) -> str:
    """What `clean_up_tokenization_spaces` in tokenizer_config.json asks for (transformers, `clean_up_tokenization`)."""
    for spaced in (" .", " ?", " !", " ,"):
        text = text.replace(spaced, spaced[1:])
    text = text.replace(" ' ", "'")
    for spaced in (" n't", " 'm", " 's", " 've", " 're"):
        text = text.replace(spaced, spaced[1:])
    return text
