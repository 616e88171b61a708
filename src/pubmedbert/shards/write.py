"""Corpus to shards: sentences, word pieces, flat files of ids with offsets."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import sentencex
from tokenizers import Tokenizer

from pubmedbert.errors import InputError
from pubmedbert.files import atomic_folder, sha256, write_json
from pubmedbert.progress import progress, say
from pubmedbert.shards.read import FORMAT, SPLITS, Counts, Meta, Shards, SplitName, continuation, open_shards
from pubmedbert.vocab.folder import dump, load, write_files
from pubmedbert.vocab.train import Corpus

BATCH = 1024
"""Documents tokenised at a time."""
FLUSH = 1 << 20
"""Tokens of a split held back before they are written."""
ROOM = 500_000
"""Strings between spaces whose ids are remembered."""
HASH_BITS = 64
_LONGEST_STRETCH = 50_000
"""Characters split into sentences at a time: there are texts on which the splitter's time grows with the square
of their length."""
# sentencex 1.0.32 panics on some white space outside ASCII, such as U+2028; BERT's normaliser makes it a space anyway.
WIDE_SPACE = re.compile(r"[^\S\x00-\x7f]")


class Inputs(TypedDict):
    """The part of `Meta` that is known before anything is written: what the shards are made from."""

    format: int
    tokenizer_sha256: str
    corpus: str
    sentence_splitter: dict[str, str]
    heldout: float


def write_shards(corpus: Corpus, tokenizer_folder: Path, out: Path, heldout: float = 0.01) -> Shards:
    """Tokenise every kept document, title first, into memory-mapped shards; nothing to do where they exist.

    The title is a sentence of its own; `sentencex` splits the abstract. No special token is added, and a text that
    spells one ("[MASK]") is plain text, so that [UNK] is the only special id in the files. A document without any
    token is left out and counted. The same input gives the same bytes. Memory: one batch of documents, the table of
    `Encoder`, and 8 bytes per sentence and document.

    Args:
        corpus: the documents.
        tokenizer_folder: a BERT tokenizer in Hugging Face layout; saved again inside the shards.
        out: the folder to make.
        heldout: the share of documents to hold out, in (0, 1); see `is_heldout`.

    Returns:
        The shards, opened.

    Raises:
        InputError: a bad share, a damaged tokenizer, `out` holds something else, or a split would be empty.
    """
    if not 0 < heldout < 1:
        raise InputError(f"--heldout {heldout} must be a share between 0 and 1, such as 0.01")
    tokenizer = load(tokenizer_folder)
    wanted = _inputs(tokenizer, corpus, heldout)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return _reuse(out, wanted)
    with atomic_folder(out) as folder:
        (folder / "tokenizer").mkdir()
        write_files(tokenizer, folder / "tokenizer")
        writers, empty = _write_splits(corpus, tokenizer, folder, heldout)
        _require_both(writers, heldout)
        np.save(folder / "unigram.npy", writers["train"].unigram)
        starts = ~continuation(folder / "tokenizer")
        unknown = tokenizer.get_vocab()["[UNK]"]
        splits: dict[str, Counts] = {name: writer.counts(starts, unknown) for name, writer in writers.items()}
        vocab_size = len(starts)
        meta = Meta(dtype=_dtype(vocab_size), vocab_size=vocab_size, empty=empty, splits=splits, **wanted)
        write_json(folder / "meta.json", asdict(meta))
    return open_shards(out)


def is_heldout(doc_id: str, share: float) -> bool:
    """Whether a document is held out: by a hash of its id, so never by what else is in the corpus.

    Raising `share` only ever moves documents from training to held-out.
    """
    digest = hashlib.blake2b(doc_id.encode(), digest_size=HASH_BITS // 8).digest()
    return bool(int.from_bytes(digest, "big") < share * 2**HASH_BITS)


def sentences(title: str, abstract: str) -> list[str]:
    """The title, whole, then the sentences of the abstract; nothing but white space is ever changed or lost."""
    text = abstract if abstract.isascii() else WIDE_SPACE.sub(" ", abstract)
    found = [title]
    while len(text) > _LONGEST_STRETCH:
        end = text.rfind(" ", 0, _LONGEST_STRETCH) + 1 or _LONGEST_STRETCH
        *whole, last = _segmented(text[:end])
        text = last + text[end:] if whole else text[end:]  # the last sentence may go on
        found += whole or [last]
    return found + _segmented(text)


def _segmented(text: str) -> list[str]:
    try:
        found: list[str] = sentencex.segment("en", text)
    except BaseException as error:
        # A panic of the Rust code behind: better one long sentence than a lost night.
        if type(error).__name__ != "PanicException":
            raise
        return [text]
    return found


def splitter() -> dict[str, str]:
    """Name and version of the sentence splitter."""
    return {"name": "sentencex", "version": importlib.metadata.version("sentencex")}


class Encoder:
    """Sentences to ids, with no special token added, nor any that is only spelled in a text.

    BERT's normaliser and pre-tokeniser never look across a space, so a table of the strings between spaces gives the
    ids of any sentence; the tokenizer itself, ten times slower, sees only strings that are not in the table.
    """

    def __init__(self, tokenizer: Tokenizer, room: int = ROOM) -> None:
        """Prepare a tokenizer from `load`; `room` is how many strings to remember."""
        spaced = [token.content for token in tokenizer.get_added_tokens_decoder().values() if " " in token.content]
        if spaced:
            raise InputError(f"the tokenizer has the added token {spaced[0]!r}; a token with a space in it won't do")
        tokenizer.encode_special_tokens = True
        self.tokenizer = tokenizer
        self.room = room
        self.known: dict[str, list[int]] = {}

    def __call__(self, texts: list[str]) -> list[list[int]]:
        """The ids of each text."""
        split = [text.split(" ") for text in texts]
        strings = set(chain.from_iterable(split))
        new = list(strings - self.known.keys())
        if len(self.known) + len(new) > self.room:
            self.known.clear()
            new = list(strings)
        encodings = self.tokenizer.encode_batch_fast(new, add_special_tokens=False)
        self.known.update((string, encoding.ids) for string, encoding in zip(new, encodings, strict=True))
        known = self.known
        return [[index for string in strings for index in known[string]] for strings in split]


class _Writer:
    """Appends the documents of one split to its files."""

    def __init__(self, folder: Path, dtype: str, vocab_size: int) -> None:
        folder.mkdir()
        self.folder = folder
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.unigram: npt.NDArray[np.int64] = np.zeros(vocab_size, dtype=np.int64)
        self.documents, self.sentences = array("q", [0]), array("q", [0])
        self.digest = hashlib.sha256()
        self.tokens = 0
        self.pending: list[int] = []
        self.names: list[str] = []
        self.file = (folder / "tokens.bin").open("wb")
        self.table = pq.ParquetWriter(folder / "doc_ids.parquet", pa.schema([("doc_id", pa.string())]))

    def __enter__(self) -> _Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.file, self.table:
            if kind is None:
                self.flush()
                np.save(self.folder / "documents.npy", np.frombuffer(self.documents, dtype=np.int64))
                np.save(self.folder / "sentences.npy", np.frombuffer(self.sentences, dtype=np.int64))

    def add(self, doc_id: str, encoded: list[list[int]]) -> None:
        """Append a document: the ids of its sentences, none of them empty."""
        for ids in encoded:
            self.pending += ids
            self.tokens += len(ids)
            self.sentences.append(self.tokens)
        self.documents.append(self.tokens)
        self.names.append(doc_id)

    def flush(self) -> None:
        """Move what is pending to the files."""
        if self.names:
            ids = np.array(self.pending, dtype=self.dtype)
            self.unigram += np.bincount(ids, minlength=len(self.unigram))
            self.digest.update(ids.data)
            self.file.write(ids.data)
            self.table.write_table(pa.table({"doc_id": pa.array(self.names, pa.string())}))
            self.pending, self.names = [], []

    def counts(self, starts: npt.NDArray[np.bool_], unknown: int) -> Counts:
        """What was written; `starts` [V] says which ids start a word, `unknown` is the id of [UNK]."""
        return Counts(
            documents=len(self.documents) - 1,
            sentences=len(self.sentences) - 1,
            tokens=self.tokens,
            words=int(self.unigram[starts].sum()),
            unknown=int(self.unigram[unknown]),
            sha256=self.digest.hexdigest(),
            documents_sha256=sha256(self.folder / "documents.npy"),
            sentences_sha256=sha256(self.folder / "sentences.npy"),
        )


def _write_splits(
    corpus: Corpus, tokenizer: Tokenizer, folder: Path, heldout: float
) -> tuple[dict[SplitName, _Writer], int]:
    """Write the files of both splits; how many documents were empty."""
    vocab_size = tokenizer.get_vocab_size(with_added_tokens=True)
    writers: dict[SplitName, _Writer] = {
        name: _Writer(folder / name, _dtype(vocab_size), vocab_size) for name in SPLITS
    }
    encoder, empty = Encoder(tokenizer), 0
    with (
        writers["train"],
        writers["heldout"],
        progress("tokenising", corpus.kept(), "documents") as advance,
    ):
        for documents in _batches(corpus.texts()):
            for (doc_id, _, _), encoded in zip(documents, _encode_documents(encoder, documents), strict=True):
                if encoded:
                    writers["heldout" if is_heldout(doc_id, heldout) else "train"].add(doc_id, encoded)
                else:
                    empty += 1
            advance(len(documents))
            for writer in writers.values():
                if len(writer.pending) >= FLUSH:
                    writer.flush()
    return writers, empty


def _encode_documents(encoder: Encoder, documents: list[tuple[str, str, str]]) -> Iterator[list[list[int]]]:
    """For each document the ids of its sentences, those without a token left out."""
    split = [sentences(title, abstract) for _, title, abstract in documents]
    encoded = iter(encoder(list(chain.from_iterable(split))))
    for parts in split:
        yield [ids for ids in islice(encoded, len(parts)) if ids]


def _batches(texts: Iterable[tuple[str, str, str]]) -> Iterator[list[tuple[str, str, str]]]:
    rows = iter(texts)
    while batch := list(islice(rows, BATCH)):
        yield batch


def _inputs(tokenizer: Tokenizer, corpus: Corpus, heldout: float) -> Inputs:
    return Inputs(
        format=FORMAT,
        tokenizer_sha256=hashlib.sha256(dump(tokenizer).encode()).hexdigest(),
        corpus=corpus.fingerprint(),
        sentence_splitter=splitter(),
        heldout=heldout,
    )


def _reuse(out: Path, wanted: Inputs) -> Shards:
    """The shards in `out`, when they were made from the same things."""
    if not (out / "meta.json").is_file():
        raise InputError(f"{out} exists and holds no shards; choose another --out")
    shards = open_shards(out)
    names = {
        "corpus": "corpus",
        "tokenizer_sha256": "tokenizer",
        "heldout": "held-out share",
        "sentence_splitter": "sentence splitter",
    }
    other = [name for key, name in names.items() if getattr(shards.meta, key) != wanted[key]]  # type: ignore[literal-required]
    if other:
        raise InputError(f"{out} holds shards made with another {' and '.join(other)}; choose another --out")
    say(f"{out} is up to date: nothing to do")
    return shards


def _require_both(writers: dict[SplitName, _Writer], heldout: float) -> None:
    """A run needs documents on both sides."""
    train, held = (len(writers[name].documents) - 1 for name in SPLITS)
    if not train + held:
        raise InputError("the corpus has no document with text; see 'pubmedbert corpus report'")
    if not train:
        raise InputError(f"--heldout {heldout} leaves no document to train on; choose a smaller share")
    if not held:
        raise InputError(f"--heldout {heldout} holds out none of {train} documents; a run needs some: raise --heldout")


def _dtype(vocab_size: int) -> str:
    return "uint16" if vocab_size <= 65536 else "uint32"
