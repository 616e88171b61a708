"""Which held-out texts stand in a document: those of which at least half the runs of eight words occur in it.

A held-out text is often a sentence of an abstract, cut into words or with names replaced, so neither the texts nor
their identifiers can be compared as they are. Runs of words are; letter case, spaces and punctuation do not count.
A long text may be put together from many abstracts, none of which holds half of it: its pieces are judged, too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

RUN = 8
"""Words in a run: fewer are often shared by chance, and a held-out sentence may have few more."""
SHARE = 0.5
"""The least share of a text's runs, or of those of one of its pieces."""
PIECE = 20
"""Words in a piece of a text: whole sentences, as few as have so many. With 15, sentences that many abstracts share
("the online version of this article contains supplementary material") were taken for held-out texts."""

_WORD = re.compile(r"[^\W_]+")
_SENTENCE_END = re.compile(r"(?<=[.?!])\s+")
_DUMMY = re.compile(r"@\w+\$")  # stands for a name that was taken out: no run goes over it


class HeldOut:
    """Texts that a corpus should not hold.

    Args:
        texts: of each data set its texts. Those with no run of eight words cannot be found; see `judged`.
    """

    def __init__(self, texts: Mapping[str, Sequence[str]]) -> None:
        self.names = [name for name, group in texts.items() for _ in group]
        """The data set of each text."""
        units = [[_split(unit) for unit in _units(text)] for group in texts.values() for text in group]
        self.digest = hashlib.sha256(json.dumps([RUN, SHARE, self.names, units]).encode()).hexdigest()
        self._ids: dict[str, int] = {}  # 0 is any word that is in no held-out text
        for words in (word for text in units for part in text[0] for word in part):
            self._ids.setdefault(words, len(self._ids) + 1)
        self._values = np.random.default_rng(0).integers(1, 2**63, len(self._ids) + 1, dtype=np.uint64)
        hashes, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for number, unit in enumerate(unit for text in units for unit in text):
            found = np.unique(np.concatenate([self._runs(part)[1] for part in unit]))
            hashes.append(found)
            owners.append(np.full(len(found), number))
        self._texts = np.repeat(np.arange(len(units)), [len(text) for text in units])  # the text of each unit
        self._needed = np.array([np.ceil(SHARE * len(found)) for found in hashes[1:]], dtype=np.int64)
        every, owner = np.concatenate(hashes), np.concatenate(owners)
        order = np.argsort(every, kind="stable")
        self._hashes, self._owners = every[order], owner[order]

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Of each text whether it has a run, so that it could be found."""
        judged = np.zeros(len(self.names), dtype=np.bool_)
        judged[self._texts[self._needed > 0]] = True
        return judged

    def search(self, documents: Sequence[str]) -> Iterator[tuple[int, list[int]]]:
        """The documents that hold held-out texts.

        Yields:
            The number of a document and those of the held-out texts in it, ascending.
        """
        words = list(map(_words, documents))
        starts = np.cumsum([len(found) + 1 for found in words]) - 1  # a word that no text has parts two documents
        places, hashes = self._runs([word for found in words for word in (*found, "")])
        if not len(self._hashes):
            return
        hit = self._hashes.take(np.searchsorted(self._hashes, hashes), mode="clip") == hashes
        holders = np.searchsorted(starts, places[hit], side="right")  # ascending
        for document in np.unique(holders):
            begin, end = np.searchsorted(holders, (document, document + 1))
            runs = np.unique(hashes[hit][begin:end])
            first, last = (np.searchsorted(self._hashes, runs, side=side) for side in ("left", "right"))
            owners = np.concatenate([self._owners[a:b] for a, b in zip(first, last, strict=True)])
            numbers, counts = np.unique(owners, return_counts=True)
            if len(enough := numbers[counts >= self._needed[numbers]]):
                yield int(document), np.unique(self._texts[enough]).tolist()

    def counts(self, found: Mapping[int, Sequence[str]]) -> dict[str, dict[str, int]]:
        """Of each data set: its texts, those that can be `judged`, those `found`, and the `documents` that hold them.

        Args:
            found: the documents that hold each text, by its number.
        """
        counts: dict[str, dict[str, int]] = {}
        for name in dict.fromkeys(self.names):
            numbers = [number for number, other in enumerate(self.names) if other == name]
            counts[name] = {
                "texts": len(numbers),
                "judged": int(self.judged[numbers].sum()),
                "found": sum(number in found for number in numbers),
                "documents": len({document for number in numbers for document in found.get(number, ())}),
            }
        return counts

    def _runs(self, words: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """The places at which runs of known words begin, and a hash of each: chance hits are one in 2**64 pairs."""
        ids = np.fromiter(map(self._ids.get, words, repeat(0)), np.int64, len(words))
        count = max(len(ids) - RUN + 1, 0)
        known = np.ones(count, dtype=np.bool_)
        hashes = np.zeros(count, dtype=np.uint64)
        for step in range(RUN):
            window = ids[step : step + count]
            known &= window > 0
            hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + self._values[window]  # modulo 2**64
        return np.flatnonzero(known), hashes[known]


def _units(text: str) -> list[str]:
    """A text, and its pieces where there are several: whole sentences; what is left at the end joins the last."""
    pieces: list[str] = []
    sentences: list[str] = []
    for sentence in _SENTENCE_END.split(text):
        sentences.append(sentence)
        if len(_words(" ".join(sentences))) >= PIECE:
            pieces.append(" ".join(sentences))
            sentences = []
    if pieces and sentences:
        pieces[-1] = " ".join([pieces[-1], *sentences])
    return [text, *pieces] if len(pieces) > 1 else [text]


def _split(text: str) -> list[list[str]]:
    """The words of a text between its dummies."""
    return [_words(part) for part in _DUMMY.split(text)]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
