"""Shards on disk: token ids in memory maps, and where documents and sentences start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from pubmedbert.errors import InputError
from pubmedbert.files import read_json, sha256
from pubmedbert.vocab.folder import PREFIX, SPECIALS, load, pieces

FORMAT = 1
DTYPES = ("uint16", "uint32")
SplitName = Literal["train", "heldout"]
SPLITS: tuple[SplitName, ...] = ("train", "heldout")
CHUNK = 1 << 24
"""How many ids are counted at a time."""
PEEK = 4096
"""How many ids at each end of a split are looked at when shards are opened."""


@dataclass(frozen=True)
class Counts:
    """What one split holds."""

    documents: int
    sentences: int
    tokens: int
    words: int
    """Tokens that start a word: all but the `##` pieces."""
    unknown: int
    """Tokens that are `[UNK]`."""
    sha256: str
    """Of `tokens.bin`."""
    documents_sha256: str = ""
    """Of `documents.npy`; older shards do not have it."""
    sentences_sha256: str = ""
    """Of `sentences.npy`; the same."""


@dataclass(frozen=True)
class Meta:
    """`meta.json`: what the shards were made from and what they hold."""

    format: int
    dtype: str
    """Of the ids in `tokens.bin`, little-endian: uint16 while the vocabulary allows, else uint32."""
    vocab_size: int
    tokenizer_sha256: str
    """Of `tokenizer/tokenizer.json`."""
    corpus: str
    """The fingerprint of the corpus store."""
    sentence_splitter: dict[str, str]
    """Name and version."""
    heldout: float
    """The share of documents asked for as held out."""
    empty: int
    """Documents left out because they have no token."""
    splits: dict[str, Counts]

    @classmethod
    def read(cls, path: Path) -> Meta:
        """Read `meta.json`.

        Raises:
            InputError: the file is missing, is not JSON, has another format version or lacks a field.
        """
        value = read_json(path)
        if value.get("format") != FORMAT:
            raise InputError(f"{path} says format {value.get('format')!r}; this version reads format {FORMAT}")
        try:
            splits = {name: Counts(**counts) for name, counts in dict(value["splits"]).items()}  # type: ignore[call-overload]
            meta = cls(**{**value, "splits": splits})  # type: ignore[arg-type]
            texts = [meta.tokenizer_sha256, meta.corpus, *dict(meta.sentence_splitter).values()]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is not the meta data of shards: {error}") from error
        numbers = [
            meta.vocab_size,
            *(getattr(c, n) for c in splits.values() for n in ("documents", "sentences", "tokens")),
        ]
        texts += [text for c in splits.values() for text in (c.sha256, c.documents_sha256, c.sentences_sha256)]
        shares = [*(getattr(c, n) for c in splits.values() for n in ("words", "unknown")), meta.empty]
        if not all(isinstance(text, str) for text in texts) or any(type(n) is not int or n < 0 for n in shares):
            raise InputError(f"{path} is damaged: make the shards again with 'pubmedbert shards'")
        if meta.dtype not in DTYPES or set(splits) != set(SPLITS) or any(type(n) is not int or n < 1 for n in numbers):
            raise InputError(f"{path} is damaged: make the shards again with 'pubmedbert shards'")
        return meta


@dataclass(frozen=True)
class Split:
    """One side of the corpus, either training or held-out documents."""

    tokens: npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
    """[tokens] ids, memory-mapped; no special id but [UNK]."""
    documents: npt.NDArray[np.int64]
    """[documents + 1] where each document starts in `tokens`, and the end; no document is empty."""
    sentences: npt.NDArray[np.int64]
    """[sentences + 1] where each sentence starts in `tokens`, and the end; every document start is among them."""


@dataclass(frozen=True)
class Shards:
    """A folder of shards that passed the checks of `open_shards`."""

    folder: Path
    meta: Meta
    unigram: npt.NDArray[np.int64]
    """[V] how often each id occurs in the training split."""
    tokenizer_folder: Path

    def split(self, name: SplitName) -> Split:
        """Map one split into memory; nothing is read yet.

        Raises:
            InputError: a file is missing, has the wrong size, or does not fit `meta.json`.
        """
        counts = self.meta.splits[name]
        folder = self.folder / name
        tokens = _tokens(folder / "tokens.bin", self.meta, counts)
        documents = _offsets(folder / "documents.npy", counts.documents, counts.tokens)
        sentences = _offsets(folder / "sentences.npy", counts.sentences, counts.tokens)
        return Split(tokens, documents, sentences)

    def verify(self, *names: SplitName) -> None:
        """Read splits in full and compare them with their checksums; of train the counts in `unigram.npy`, too.

        Args:
            names: of the splits; all where there are none.

        Raises:
            InputError: they are not what `pubmedbert shards` wrote.
        """
        for name in names or SPLITS:
            counts, folder = self.meta.splits[name], self.folder / name
            if sha256(path := folder / "tokens.bin") != counts.sha256:
                raise InputError(f"{path} is damaged: it does not have its checksum; make the shards again")
            split = self.split(name)
            sums = {"documents.npy": counts.documents_sha256, "sentences.npy": counts.sentences_sha256}
            damaged = [file for file, known in sums.items() if known and sha256(folder / file) != known]
            if damaged or not (_rises(split.documents) and _rises(split.sentences) and _meet(split)):
                which = damaged[0] if damaged else " or ".join(sums)
                raise InputError(f"{folder / which} is damaged; make the shards again")
            if name == "train" and not np.array_equal(_counted(split.tokens, self.meta.vocab_size), self.unigram):
                raise InputError(f"{self.folder / 'unigram.npy'} does not count the tokens; make the shards again")

    def doc_ids(self, name: SplitName) -> list[str]:
        """The [documents] identifiers of a split, in the order of its documents.

        Raises:
            InputError: the file is missing or damaged.
        """
        import pyarrow
        import pyarrow.parquet

        path = self.folder / name / "doc_ids.parquet"
        try:
            ids: list[str] = pyarrow.parquet.read_table(path).column("doc_id").to_pylist()
        except (OSError, KeyError, pyarrow.ArrowException) as error:
            raise InputError(f"{path} is damaged: {error}") from error
        return ids


def open_shards(folder: Path) -> Shards:
    """Open shards and check, without reading them in full, that the files belong together.

    Args:
        folder: what `pubmedbert shards` wrote.

    Raises:
        InputError: not a folder of shards, another format version, files missing or of the wrong size, offsets that
            don't fit, or ids outside the vocabulary at either end of a split.
    """
    if not (folder / "meta.json").is_file():
        raise InputError(f"{folder} holds no shards (no meta.json): make them with 'pubmedbert shards'")
    meta = Meta.read(folder / "meta.json")
    tokenizer = folder / "tokenizer"
    if sha256(tokenizer / "tokenizer.json") != meta.tokenizer_sha256:
        raise InputError(f"{tokenizer / 'tokenizer.json'} is not the tokenizer these shards were made with")
    unigram = _array(folder / "unigram.npy", (meta.vocab_size,))
    if int(unigram.sum()) != meta.splits["train"].tokens:
        raise InputError(f"{folder / 'unigram.npy'} does not add up to the training tokens in meta.json")
    shards = Shards(folder, meta, unigram, tokenizer)
    for name in SPLITS:
        shards.split(name)
    return shards


def continuation(tokenizer_folder: Path) -> npt.NDArray[np.bool_]:
    """Which ids continue a word: [V], True for `##` pieces.

    Raises:
        InputError: not a tokenizer folder.
    """
    return np.array([piece.startswith(PREFIX) for piece in pieces(load(tokenizer_folder))], dtype=np.bool_)


def special_ids(tokenizer_folder: Path) -> frozenset[int]:
    """The ids of [PAD], [UNK], [CLS], [SEP] and [MASK], and of any other special token.

    Raises:
        InputError: not a tokenizer folder.
    """
    tokenizer = load(tokenizer_folder)
    added = {index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    vocabulary = tokenizer.get_vocab()
    return frozenset(added | {vocabulary[name] for name in SPECIALS})


def _tokens(path: Path, meta: Meta, counts: Counts) -> npt.NDArray[np.uint16] | npt.NDArray[np.uint32]:
    dtype = np.dtype(meta.dtype).newbyteorder("<")
    try:
        size = path.stat().st_size
        if size != counts.tokens * dtype.itemsize:
            raise InputError(f"{path} has {size} bytes instead of {counts.tokens * dtype.itemsize}: it is cut short")
        tokens = np.memmap(path, dtype=dtype, mode="r")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    top = max(tokens[:PEEK].max(), tokens[-PEEK:].max())
    if top >= meta.vocab_size:
        raise InputError(f"{path} holds the id {top}, outside the vocabulary of {meta.vocab_size}")
    return tokens


def _offsets(path: Path, count: int, tokens: int) -> npt.NDArray[np.int64]:
    offsets = _array(path, (count + 1,))
    head, tail = np.diff(offsets[:PEEK]), np.diff(offsets[-PEEK:])
    if offsets[0] != 0 or offsets[-1] != tokens or head.min() < 1 or tail.min() < 1:
        raise InputError(f"{path} does not fit: offsets must rise from 0 to {tokens}")
    return offsets


def _rises(offsets: npt.NDArray[np.int64]) -> bool:
    return bool((offsets[1:] > offsets[:-1]).all())


def _meet(split: Split) -> bool:
    """Whether every document starts with a sentence."""
    place = np.searchsorted(split.sentences, split.documents)
    return bool((split.sentences[np.minimum(place, len(split.sentences) - 1)] == split.documents).all())


def _counted(tokens: npt.NDArray[np.unsignedinteger], vocabulary: int) -> npt.NDArray[np.int64]:
    """`[V]` occurrences of each id, or more of them where one is outside the vocabulary."""
    parts = (tokens[start : start + CHUNK] for start in range(0, len(tokens), CHUNK))
    found = [np.bincount(part, minlength=vocabulary) for part in parts]
    width = max(map(len, found))
    return sum((np.pad(part, (0, width - len(part))) for part in found), np.zeros(width, np.int64))


def _array(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    try:
        array: npt.NDArray[np.int64] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} holds no array")
    if array.shape != shape or array.dtype != np.int64:
        raise InputError(f"{path} is {array.dtype} {array.shape} instead of int64 {shape}")
    return array
