"""An index of words by what a layer makes of them: its files, and how a whole one is told from a damaged one.

`vectors.bin` holds a row of int8 for each word, `words.bin` its scale and place, `sentences.bin` where each sentence
ends in `texts.bin` and its document, `documents.txt` an id in each line, and `meta.json`, written last, what the index
was made from and the size and hash of each file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pubmedbert.errors import InputError
from pubmedbert.files import read_json, sha256

FORMAT = 3
Vectors = Literal["states", "heads"]
"""What of a word is indexed: its state after a layer, or what the heads of the layer give, side by side."""
META, VECTORS, WORDS, SENTENCES, TEXTS, DOCUMENTS = (
    *("meta.json", "vectors.bin", "words.bin", "sentences.bin", "texts.bin", "documents.txt"),
)
FILES = (VECTORS, WORDS, SENTENCES, TEXTS, DOCUMENTS)
WORD = np.dtype([("scale", "<f4"), ("sentence", "<u4"), ("start", "<u4"), ("end", "<u4")])
"""A word: what makes its row of int8 of length 1, and its characters `[start, end)` in its sentence."""
SENTENCE = np.dtype([("end", "<u8"), ("document", "<u4")])
"""A sentence: where it ends in the texts, in bytes, and the number of its document."""


@dataclass(frozen=True)
class Index:
    """An opened index of N words; see `open_index`."""

    folder: Path
    meta: Mapping[str, Any]
    """`model`, `tokenizer`, `corpus` (their fingerprints), `layer` (from 1), `kind` (one of `Vectors`), `width`,
    `limit`, `documents`, `text_bytes`, and of each file in `files` its `size` and `sha256`."""
    vectors: NDArray[np.int8]
    """`[N, D]`, mapped."""
    words: NDArray[np.void]
    """`[N]` of `WORD`, mapped."""
    sentences: NDArray[np.void]
    """`[S]` of `SENTENCE`, mapped."""
    texts: NDArray[np.uint8]
    """UTF-8, mapped."""
    documents: list[str]
    """Ids."""

    @property
    def layer(self) -> int:
        """Whose states, or heads, were indexed: from 1."""
        return int(self.meta["layer"])

    @property
    def of(self) -> Vectors:
        """What was indexed."""
        return "heads" if self.meta["kind"] == "heads" else "states"

    def sentence(self, number: int) -> str:
        """The text of a sentence."""
        start = int(self.sentences["end"][number - 1]) if number else 0
        return self.texts[start : int(self.sentences["end"][number])].tobytes().decode()

    def require(self, fingerprint: str, tokenizer: str) -> None:
        """Refuse a model that the index was not made with, or one that cuts texts in another way by now.

        Args:
            fingerprint: of the model.
            tokenizer: the fingerprint of its tokenizer.

        Raises:
            InputError: it is another.
        """
        named = {"model": fingerprint, "tokenizer": tokenizer}
        if other := next((name for name, mark in named.items() if self.meta[name] != mark), None):
            what = "model, or with other weights of it" if other == "model" else "tokenizer of this model"
            raise InputError(
                f"{self.folder} was made with another {what}; make an index for this one with: pubmedbert explore index"
            )


def open_index(folder: Path) -> Index:
    """Open an index. Its vectors are mapped and not read; everything else is checked against its hash.

    Raises:
        InputError: it is missing, not finished, damaged or of another version.
    """
    meta = read_meta(folder)
    damaged = f"{folder} is damaged: {{}}; delete it and run pubmedbert explore index again"
    try:
        files: Mapping[str, Any] = dict(meta["files"])  # type: ignore[call-overload]
        for name in FILES:
            if (folder / name).stat().st_size != files[name]["size"]:
                raise InputError(damaged.format(f"{name} has another size than it was made with"))
            if name != VECTORS and sha256(folder / name) != files[name]["sha256"]:
                raise InputError(damaged.format(f"{name} was changed"))
        words, sentences = (_mapped(folder / name, kind) for name, kind in ((WORDS, WORD), (SENTENCES, SENTENCE)))
        vectors = _mapped(folder / VECTORS, np.dtype(np.int8)).reshape(len(words), int(str(meta["width"])))
        documents = (folder / DOCUMENTS).read_text(encoding="utf-8").split("\n")[:-1]
        texts = _mapped(folder / TEXTS, np.dtype(np.uint8))
        known = all(isinstance(meta[name], str) for name in ("model", "tokenizer")) and isinstance(meta["layer"], int)
        if not known or meta["kind"] not in get_args(Vectors):
            raise InputError(damaged.format(f"{META} does not say what it was made from"))
    except (KeyError, TypeError) as error:
        raise InputError(damaged.format(f"{META} lacks {error}")) from error
    except OSError as error:
        raise InputError(damaged.format(f"{error.filename} cannot be read ({error.strerror})")) from error
    except InputError:
        raise
    except ValueError as error:
        raise InputError(damaged.format(str(error))) from error
    return Index(folder, meta, vectors, words, sentences, texts, documents)


def read_meta(folder: Path) -> dict[str, object]:
    """What an index says of itself.

    Raises:
        InputError: it is missing, not finished or of another version.
    """
    if not (folder / META).is_file():
        raise InputError(f"{folder} holds no finished index; make one with: pubmedbert explore index --out {folder}")
    meta = read_json(folder / META)
    if meta.get("format") != FORMAT:
        raise InputError(
            f"{folder / META} says format {meta.get('format')!r}; this version reads format {FORMAT}: make it anew"
        )
    return meta


def scales(whole: NDArray[np.int8]) -> NDArray[np.float32]:
    """What each row of `[n, D]` is multiplied by to be of length 1; 0 for a row of zeros."""
    norms = np.sqrt(np.square(whole.astype(np.float32)).sum(axis=1, dtype=np.float64))
    factors: NDArray[np.float32] = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0).astype(np.float32)
    return factors


def _mapped(path: Path, kind: np.dtype[Any]) -> NDArray[Any]:
    return np.memmap(path, kind, "r") if path.stat().st_size else np.empty(0, kind)  # nothing cannot be mapped
