"""The tokenizer of a model folder: checked against the model, and text back from ids as transformers writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pubmedbert.errors import InputError
from pubmedbert.vocab import folder as vocabulary

MASK = "[MASK]"
PAD = "[PAD]"


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
        ids = self.pieces.get_vocab(with_added_tokens=True)
        self.mask_id: int = ids[MASK]
        self.pad_id: int = ids[PAD]
        self._tidy = bool(vocabulary.tokenizer_config(folder).get("clean_up_tokenization_spaces", False))

    def encode(self, text: str) -> list[int]:
        """The ids of a text as `[CLS] text [SEP]`.

        Raises:
            InputError: the text is not valid Unicode.
        """
        ids: list[int] = self.pieces.encode(valid(text)).ids
        return ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of some ids, spaced as transformers spaces it."""
        text: str = self.pieces.decode(list(ids), skip_special_tokens=skip_special_tokens)
        return _tidied(text) if self._tidy else text

    def piece(self, target: str) -> int:
        """The id of a word that is one word piece.

        A piece is taken as it is written ("##mab"); any other word is normalised as text is, so case does not matter
        to an uncased vocabulary.

        Raises:
            InputError: the word is several pieces, none, or unknown.
        """
        exact: int | None = self.pieces.token_to_id(valid(target))
        if exact is not None:
            return exact
        encoded = self.pieces.encode(target, add_special_tokens=False)
        if len(encoded.ids) != 1:
            found = f"it is {len(encoded.ids)}: {' '.join(encoded.tokens)}" if encoded.ids else "it is empty"
            raise InputError(f"the target {target!r} must be one word piece of this model's vocabulary, but {found}")
        if encoded.tokens == [vocabulary.UNKNOWN]:
            raise InputError(f"the target {target!r} is unknown to this model's vocabulary")
        only: int = encoded.ids[0]
        return only


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
