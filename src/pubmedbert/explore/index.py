"""Index the words of a corpus by what one layer of a model makes of them, in int8; what is killed goes on.

A word has one vector, the mean of its pieces' states: one for each piece would say much the same and take half as much
disk again. Words without a letter or digit have none. Each sentence is a row of its own, as is the one looked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from pubmedbert.errors import InputError
from pubmedbert.explore.index_files import (
    DOCUMENTS,
    FILES,
    FORMAT,
    META,
    SENTENCE,
    SENTENCES,
    TEXTS,
    VECTORS,
    WORD,
    WORDS,
    Index,
    Vectors,
    open_index,
    scales,
)
from pubmedbert.files import disk_errors, locked, read_json, sha256, write_json
from pubmedbert.infer.engine import Encoder, check_finite, open_encoder, open_heads, thread_count
from pubmedbert.infer.engines.quantise import quantise
from pubmedbert.infer.engines.weights import check_unchanged, fingerprint, is_tuned, read_checkpoint
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.model.checkpoint import read_config
from pubmedbert.model.config import ModelConfig
from pubmedbert.progress import progress, say
from pubmedbert.shards.write import sentences, splitter

BATCH = 16
"""Documents between two steps that a killed run goes on from. Rows of a batch are computed together, so another number
could give other last bits."""
_PROGRESS = "progress.json"


class Corpus(Protocol):
    """What is indexed; `pubmedbert.corpus.store.Store` is one."""

    def texts(self) -> Iterator[tuple[str, str, str]]:
        """Stream (doc_id, title, abstract), always in the same order."""

    def kept(self) -> int:
        """How many documents there are."""

    def fingerprint(self) -> str:
        """A hash that identifies them."""


@dataclass(frozen=True)
class Found:
    """The words of a row."""

    sentence: int
    """Its sentence's number in the batch."""
    row: list[int]
    """Ids, [CLS] and [SEP] included."""
    places: list[int]
    """Those of the pieces of words that are indexed, ascending."""
    firsts: list[int]
    """Where each of these words begins among `places`."""
    spans: list[tuple[int, int]]
    """The characters of each word in its sentence."""


def make_index(
    corpus: Corpus,
    model: Path,
    out: Path,
    *,
    layer: int | None = None,
    of: Vectors = "states",
    limit: int | None = None,
    threads: int | None = None,
) -> Index:
    """Index the words of a corpus; go on where a killed run stopped; do nothing where the same index exists.

    The same corpus, model and settings give the same bytes, however often the run is killed, on one machine with one
    number of threads.

    Args:
        corpus: the documents.
        model: a folder in Hugging Face layout.
        out: the folder to make.
        layer: whose states, or heads, are indexed, from 1; the last where it is None.
        of: index the states after the layer, or what its heads give.
        limit: index the first so many documents.
        threads: processor threads used.

    Raises:
        InputError: the layer is none of the model's; `out` holds something else; another process works on it; the
            model's states are no numbers, or it is replaced meanwhile; the disk is full.
        ModelError: the folder holds no BERT.
    """
    mark = fingerprint(model)  # before anything else is read: what is replaced from here on is found by it
    config = read_checkpoint(model, _part(model)).config
    layer = config.layers if layer is None else layer
    tokenizer = ModelTokenizer(model, config.vocab_size)
    of_model = {"model": mark, "tokenizer": tokenizer.fingerprint}
    inputs = {"format": FORMAT, **of_model, **_inputs(corpus, config, layer, limit), "kind": of}
    with locked(out, busy=f"another process makes {out}; wait for it, or choose another --out"):
        if (out / META).exists():
            return _reused(out, inputs)
        sizes, documents = _resumed(out, inputs)
        encoder = open_layer(model, mark, layer, threads, of)
        total = min(corpus.kept(), limit or corpus.kept())
        with progress("indexing", total, "documents", done=documents) as advance, ExitStack() as stack:
            writer = _Writer(out, inputs, sizes, stack, documents)
            texts = islice(corpus.texts(), documents, limit)
            while batch := list(islice(texts, BATCH)):
                writer.add(batch, *_vectors(batch, tokenizer.pieces, encoder))
                advance(len(batch))
            writer.finish()
        (out / _PROGRESS).unlink()
    return open_index(out)


def _inputs(corpus: Corpus, config: ModelConfig, layer: int, limit: int | None) -> dict[str, object]:
    """What an index is made from beside the model, as `meta.json` says it."""
    if not 1 <= layer <= config.layers:
        raise InputError(f"--layer must be from 1 to {config.layers}, the layers of this model, not {layer}")
    if limit is not None and limit < 1:
        raise InputError(f"--limit must be at least 1, not {limit}")
    return {
        "layer": layer,
        "width": config.width,
        "corpus": corpus.fingerprint(),
        "limit": limit,
        "sentence_splitter": splitter(),
    }


def _part(folder: Path) -> Literal["encoder", "tuned"]:
    """What is read of a model: fine-tuned ones are in folders of their own kind."""
    return "tuned" if is_tuned(read_config(folder)) else "encoder"


def open_layer(folder: Path, mark: str, layer: int, threads: int | None, of: Vectors = "states") -> Encoder:
    """The first layers of a model as an encoder of their own, in fp32: nothing behind them is computed.

    Args:
        folder: of the model.
        mark: its fingerprint.
        layer: the last one that is computed, from 1.
        threads: processor threads used.
        of: what is computed.

    Raises:
        InputError: the model is no longer the one of the fingerprint.
    """
    part = _part(folder)
    config = read_checkpoint(folder, part).config
    encoder: Encoder
    if layer < config.layers:
        encoder = _cut(folder, part, mark, layer, threads, of)
    elif of == "heads":
        encoder = open_heads(folder, part=part, threads=threads)
    else:
        encoder = open_encoder(folder, part=part, precision="fp32", backend="onnx", threads=threads)
    check_unchanged(folder, mark)
    return encoder


def _cut(
    folder: Path, part: Literal["encoder", "tuned"], mark: str, layer: int, threads: int | None, of: Vectors
) -> Encoder:
    """A model without its last layers, converted."""
    from pubmedbert.infer.cache import cached
    from pubmedbert.infer.engines.converted import VERSION, convert, open_converted
    from pubmedbert.infer.engines.onnx_engine import OnnxEncoder

    def make(made: Path) -> None:
        whole = read_checkpoint(folder, part)
        convert(replace(whole, config=replace(whole.config, layers=layer)), made, mark)
        check_unchanged(folder, mark)  # what was converted is kept under this name for good

    key = f"onnx-{VERSION}-{mark}-{part}-layer{layer}"
    made = cached(key, make, lambda made: open_converted(made, mark) is not None)
    found = open_converted(made, mark)
    if found is None:
        raise InputError(f"{made} is damaged and cannot be made anew; delete it")
    return OnnxEncoder(found, thread_count(threads), output="heads" if of == "heads" else "hidden")


def _vectors(
    batch: Sequence[tuple[str, str, str]], pieces: Tokenizer, encoder: Encoder
) -> tuple[list[tuple[int, str]], list[Found], NDArray[np.int8], NDArray[np.float32]]:
    """The words of some documents.

    Returns:
        The sentences, each with its document's number in the batch; their rows; `[n, D]` int8 and `[n]` scales.
    """
    texts = [
        (number, text)
        for number, (_, title, abstract) in enumerate(batch)
        for text in sentences(title, abstract)
        if text.strip()
    ]
    found = list(_rows([text for _, text in texts], pieces, encoder.max_positions))
    states = encoder.hidden([one.row for one in found], [one.places for one in found])
    means = [
        np.add.reduceat(state, one.firsts, axis=0) / np.diff([*one.firsts, len(one.places)])[:, None]
        for one, state in zip(found, states, strict=True)
    ]
    vectors = np.concatenate([np.empty((0, encoder.width)), *means]).astype(np.float32)
    check_finite(vectors)
    whole, _ = quantise(vectors)
    return texts, found, whole, scales(whole)


def _rows(texts: Sequence[str], pieces: Tokenizer, longest: int) -> Iterator[Found]:
    """The rows of some sentences: one for each, several for one that is too long, none without a word."""
    pieces.encode_special_tokens = True  # what a text spells is text
    special = pieces.get_vocab(with_added_tokens=True)
    start, end = special["[CLS]"], special["[SEP]"]
    room = longest - 2
    for number, (text, encoding) in enumerate(
        zip(texts, pieces.encode_batch(list(texts), add_special_tokens=False), strict=True)
    ):
        words: dict[int, list[int]] = {}
        for place, word in enumerate(encoding.word_ids):
            if word is not None:  # as special tokens would be, which are not added here
                words.setdefault(word, []).append(place)
        row: list[list[int]] = []
        for places in [*words.values(), [0] * longest]:  # the last one stands for the end
            if sum(map(len, row)) + len(places) > room:
                ids = [start, *(encoding.ids[place] for part in row for place in part), end]
                if (made := _found(number, ids, row, encoding.offsets, text)).places:
                    yield made
                row = []
            row.append(places[:room])


def _found(
    sentence: int, ids: list[int], row: Sequence[Sequence[int]], offsets: Sequence[tuple[int, int]], text: str
) -> Found:
    """The indexed words among those of a row, which are given by the places of their pieces in the sentence."""
    made = Found(sentence, ids, [], [], [])
    place = 1
    for word in row:
        first, after = offsets[word[0]][0], offsets[word[-1]][1]
        if any(map(str.isalnum, text[first:after])):
            made.firsts.append(len(made.places))
            made.places.extend(range(place, place + len(word)))
            made.spans.append((first, after))
        place += len(word)
    return made


class _Writer:
    """Appends batches to the files and writes down how far they are whole."""

    def __init__(
        self, out: Path, inputs: Mapping[str, object], sizes: Mapping[str, int], stack: ExitStack, documents: int
    ) -> None:
        self._out = out
        self._inputs = inputs
        self._documents = documents
        self._files: dict[str, IO[bytes]] = {}
        self._note(sizes)  # before there are files, so that those of a killed run are always known as such
        for name in FILES:
            with disk_errors(out):
                file = self._files[name] = (out / name).open("ab")
                stack.callback(self._close, file)
                file.truncate(sizes[name])  # what a killed run wrote of a batch that it did not finish
                file.seek(0, os.SEEK_END)
        self._text_bytes = sizes[TEXTS]

    def add(
        self,
        batch: Sequence[tuple[str, str, str]],
        texts: Sequence[tuple[int, str]],
        found: Sequence[Found],
        vectors: NDArray[np.int8],
        factors: NDArray[np.float32],
    ) -> None:
        """Append a batch and make it last."""
        first_sentence = self._files[SENTENCES].tell() // SENTENCE.itemsize
        written = [text.encode() for _, text in texts]
        table = np.empty(len(texts), SENTENCE)
        table["end"] = self._text_bytes + np.cumsum([len(text) for text in written], dtype=np.uint64)
        table["document"] = [self._documents + number for number, _ in texts]
        words = np.empty(len(vectors), WORD)
        words["scale"] = factors
        words["sentence"] = [first_sentence + one.sentence for one in found for _ in one.spans]
        words["start"] = [start for one in found for start, _ in one.spans]
        words["end"] = [end for one in found for _, end in one.spans]
        with disk_errors(self._out):
            self._files[VECTORS].write(vectors.tobytes())
            self._files[WORDS].write(words.tobytes())
            self._files[SENTENCES].write(table.tobytes())
            self._files[TEXTS].write(b"".join(written))
            self._files[DOCUMENTS].write("".join(f"{doc_id}\n" for doc_id, _, _ in batch).encode())
        self._text_bytes += sum(map(len, written))
        self._documents += len(batch)
        self._step()

    def finish(self) -> None:
        """Write `meta.json`: the index is whole."""
        with disk_errors(self._out):
            sizes = {name: (self._out / name).stat().st_size for name in FILES}
        files = {name: {"size": sizes[name], "sha256": sha256(self._out / name)} for name in FILES}
        counts = {"documents": self._documents, "text_bytes": self._text_bytes}
        write_json(self._out / META, {**self._inputs, **counts, "files": files})

    def _step(self) -> None:
        sizes = {}
        with disk_errors(self._out):
            for name, file in self._files.items():
                file.flush()
                os.fsync(file.fileno())
                sizes[name] = file.tell()
        self._note(sizes)

    def _close(self, file: IO[bytes]) -> None:
        with disk_errors(self._out):  # of a full disk, closing says once more that it is
            file.close()

    def _note(self, sizes: Mapping[str, int]) -> None:
        write_json(self._out / _PROGRESS, {**self._inputs, "documents": self._documents, "sizes": sizes})


def _resumed(out: Path, inputs: Mapping[str, object]) -> tuple[dict[str, int], int]:
    """The sizes up to which the files of a killed run are whole, and its documents."""
    if not (out / _PROGRESS).exists():
        if strange := sorted(path.name for path in out.iterdir() if not path.name.startswith(f".{_PROGRESS}.")):
            raise InputError(f"{out} holds {strange[0]} and no index; choose another --out")
        return dict.fromkeys(FILES, 0), 0
    values = read_json(out / _PROGRESS)
    _same(out, values, inputs)
    sizes, documents = values.get("sizes"), values.get("documents")
    there = {name: (out / name).stat().st_size if (out / name).exists() else 0 for name in FILES}
    if (
        not isinstance(sizes, dict)
        or not isinstance(documents, int)
        or any(not isinstance(sizes.get(name), int) or not 0 <= sizes[name] <= there[name] for name in FILES)
    ):
        raise InputError(f"{out} is damaged: its files are shorter than {_PROGRESS} says; delete it and begin anew")
    if documents:
        say(f"{out}: going on after {documents:,} documents")
    return sizes, documents


def _reused(out: Path, inputs: Mapping[str, object]) -> Index:
    _same(out, read_json(out / META), inputs)
    (out / _PROGRESS).unlink(missing_ok=True)
    index = open_index(out)
    say(f"{out} is up to date: nothing to do")
    return index


def _same(out: Path, values: Mapping[str, object], inputs: Mapping[str, object]) -> None:
    other = [name.replace("_", " ") for name, value in inputs.items() if values.get(name) != value]
    if other:
        raise InputError(f"{out} holds an index made with another {' and '.join(other)}; choose another --out")
