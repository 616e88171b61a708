"""How well tokenizers fit biomedical text: terms kept whole, pieces per word (Gu et al. 2020, Tables 1 and 8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from pubmedbert.errors import InputError
from pubmedbert.vocab.folder import PREFIX, UNKNOWN, load, pieces

TERMS = (
    *("diabetes", "leukemia", "lithium", "insulin", "DNA", "promoter", "hypertension", "nephropathy", "lymphoma"),
    *("lidocaine", "oropharyngeal", "cardiomyocyte", "chloramphenicol", "RecA", "acetyltransferase", "clonidine"),
    "naloxone",
)
"""The terms of Gu et al. 2020, Table 1."""
BATCH = 1024
"""Most lines tokenised at a time."""
CHARACTERS = 4 << 20
"""Lines are tokenised when they have so many characters."""
LONGEST = 1 << 20
"""Most characters in a line: a file without line ends must not fill the memory."""


@dataclass(frozen=True)
class Fit:
    """What a tokenizer makes of a text. A word is what BERT's pre-tokeniser cuts, known punctuation marks left out."""

    documents: int
    words: int
    pieces_per_word: float
    whole: float
    """Share of words that are one piece."""
    unknown: float
    """Share of word pieces that are [UNK]."""
    pieces_per_document: float
    """Punctuation included, [CLS] and [SEP] not."""


@dataclass(frozen=True)
class Comparison:
    """One tokenizer on the terms and the text."""

    tokenizer: str
    size: int
    terms: dict[str, list[str]]
    """The pieces of each term, without `##`."""
    text: Fit

    def whole(self, term: str) -> bool:
        """Whether a term of Table 1 is one piece."""
        return len(self.terms[term]) == 1 and self.terms[term] != [UNKNOWN]


def compare(folders: Sequence[Path], text: Path) -> list[Comparison]:
    """Compare tokenizers on the terms of Table 1 and on a text.

    Args:
        folders: tokenizers in Hugging Face layout.
        text: a UTF-8 file, one document per line.

    Raises:
        InputError: no tokenizer or a damaged one, or a text that is missing, is not UTF-8 or has no word.
    """
    if not folders:
        raise InputError("name at least one TOKENIZER folder to compare")
    return [_compare(folder, load(folder), text) for folder in folders]


def cut(tokenizer: Tokenizer, term: str) -> list[str]:
    """The pieces of a term, without `##`."""
    return [piece.removeprefix(PREFIX) for piece in tokenizer.encode(term, add_special_tokens=False).tokens]


def fit(tokenizer: Tokenizer, documents: Iterator[str]) -> Fit:
    """Measure a tokenizer on documents.

    Raises:
        InputError: the documents hold no word.
    """
    vocabulary = pieces(tokenizer)
    inside = np.array([piece.startswith(PREFIX) for piece in vocabulary])  # [V]
    mark = np.array([len(piece) == 1 and not piece.isalnum() for piece in vocabulary])  # [V]
    unknown = vocabulary.index(UNKNOWN)
    tokenizer.encode_special_tokens = True  # "[MASK]" in a text is text
    lines = tokens = 0
    sums = np.zeros(4, dtype=np.int64)  # words, their pieces, whole words, unknown words
    for batch in _batches(documents):
        encoded = [encoding.ids for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False)]
        ids = np.array([index for document in encoded for index in document], dtype=np.int64)
        lines, tokens = lines + len(batch), tokens + len(ids)
        sums += _count(ids, inside, mark, unknown)
    words, parts, whole, unknowns = (int(n) for n in sums)
    if not words:
        raise InputError("there is no word in it; give a file with one document per line")
    return Fit(lines, words, parts / words, whole / words, unknowns / tokens, tokens / lines)


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    """The documents, so many at a time, or fewer where they are long."""
    batch: list[str] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document)
        if len(batch) == BATCH or size >= CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of a file with a word in them.

    Raises:
        InputError: a line is too long.
    """
    number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise InputError(f"line {number} is longer than {LONGEST:,} characters; give one document per line")
        if line.strip():
            yield line


def _count(
    ids: npt.NDArray[np.int64], inside: npt.NDArray[np.bool_], mark: npt.NDArray[np.bool_], unknown: int
) -> npt.NDArray[np.int64]:
    """Words, their pieces, words of one piece, and [UNK] among `ids` [N]."""
    goes_on = inside[ids]  # [N]
    alone = ~goes_on & ~np.append(goes_on[1:], False)  # [N]
    marks = alone & mark[ids]  # [N]
    unknowns = ids == unknown  # [N]
    words = ~goes_on & ~marks  # [N]
    return np.array([words.sum(), len(ids) - marks.sum(), (words & alone & ~unknowns).sum(), unknowns.sum()])


def _compare(folder: Path, tokenizer: Tokenizer, text: Path) -> Comparison:
    terms = {term: cut(tokenizer, term) for term in TERMS}
    try:
        with text.open(encoding="utf-8") as file:
            measured = fit(tokenizer, _lines(file))
    except OSError as error:
        raise InputError(f"cannot read {text}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{text} is not UTF-8 text: {error}") from error
    except InputError as error:
        raise InputError(f"{text}: {error}") from error
    return Comparison(str(folder), tokenizer.get_vocab_size(), terms, measured)
