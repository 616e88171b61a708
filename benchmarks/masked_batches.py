"""The batches that benchmarks/pretrain.py measures with: the same texts for all, in packs, padded or in blocks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np


def shape(size: str) -> Any:
    """The size's shape, with the bundled vocabulary."""
    from pubmedbert.infer.tokenizer import ModelTokenizer
    from pubmedbert.model.config import SIZES
    from pubmedbert.model.locate import BUNDLED

    return replace(SIZES[size], vocab_size=ModelTokenizer(BUNDLED, 2**31).size)


def packs(size: str, length: int, listed: Path, steps: int, pieces: int) -> tuple[list[Any], float]:
    """Our batches, and the FLOPs a piece of them needs."""
    from pubmedbert.model.flops import training_flops
    from pubmedbert.model.locate import BUNDLED
    from pubmedbert.pretrain.feed import special_pieces
    from pubmedbert.shards.samples import pack, single

    texts = np.load(listed)
    table = segmented(texts, length)
    special = special_pieces(BUNDLED)
    made = [
        pack(texts["tokens"], single(table, part), special, 0, 0) for part in drawn(len(table), steps, pieces // length)
    ]
    flops = 0.0
    for one in made[1:]:
        kept = np.diff(np.searchsorted(one.where, np.cumsum([0, *one.lengths]))).tolist()
        flops += training_flops(shape(size), one.lengths, len(one.where), kept)
    return made, flops / sum(len(one.tokens) for one in made[1:])


def collated(variant: str, length: int, listed: Path, steps: int, pieces: int) -> list[Any]:
    """The batches of transformers' collator."""
    import torch
    import transformers

    from pubmedbert.model.locate import BUNDLED

    tokenizer = transformers.AutoTokenizer.from_pretrained(BUNDLED)
    torch.manual_seed(0)
    collate = transformers.DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=0.15, pad_to_multiple_of=length if variant == "padded" else None
    )
    texts = np.load(listed)
    tokens = texts["tokens"]
    if variant == "blocks":
        documents = zip(texts["documents"][:-1], texts["documents"][1:], strict=True)
        joined = np.concatenate([framed(tokens[first:end], tokenizer) for first, end in documents])
        whole = joined[: len(joined) // length * length].reshape(-1, length)
        listed_rows = [list(whole[part]) for part in drawn(len(whole), steps, pieces // length)]
    else:
        table = segmented(texts, length)
        listed_rows = [
            [framed(tokens[slice(*table[number])], tokenizer) for number in part]
            for part in drawn(len(table), steps, pieces // length)
        ]
    special = np.array([tokenizer.cls_token_id, tokenizer.sep_token_id])
    return [
        collate(
            [
                {"input_ids": row.tolist(), "special_tokens_mask": np.isin(row, special).astype(int).tolist()}
                | {"attention_mask": [1] * len(row), "token_type_ids": [0] * len(row)}
                for row in part
            ]
        )
        for part in listed_rows
    ]


def framed(row: Any, tokenizer: Any) -> Any:
    """A row between [CLS] and [SEP]."""
    return np.concatenate([[tokenizer.cls_token_id], row, [tokenizer.sep_token_id]]).astype(np.int64)


def segmented(texts: Any, length: int) -> Any:
    """`[S, 2]` first token and end of the texts' segments that fit into rows of a length."""
    from pubmedbert.model.locate import BUNDLED
    from pubmedbert.pretrain.feed import special_pieces
    from pubmedbert.shards.samples import segments

    continuation = special_pieces(BUNDLED).continuation
    return segments(texts["documents"], texts["sentences"], length - 2, texts["tokens"], continuation)


def drawn(count: int, steps: int, rows: int) -> Any:
    """`[steps, rows]` numbers below a count, drawn at random, none of them twice."""
    return np.random.default_rng(0).permutation(count)[: steps * rows].reshape(steps, rows)


def write_texts(data: Path | None, path: Path) -> None:
    """Tokenise texts: `tokens`, and where `documents` and `sentences` start; a sentence ends behind a full stop."""
    from pubmedbert.infer.tokenizer import ModelTokenizer
    from pubmedbert.model.locate import BUNDLED

    tokenizer = ModelTokenizer(BUNDLED, 2**31)
    encoded = [np.array(tokenizer.encode(text)[1:-1], np.uint16) for text in texts(data)]
    tokens = np.concatenate(encoded)
    documents = np.cumsum([0, *map(len, encoded)])
    (stop,) = tokenizer.encode(".")[1:-1]
    sentences = np.union1d(documents, np.flatnonzero(tokens == stop) + 1)
    np.savez(path, tokens=tokens, documents=documents, sentences=sentences)


def texts(data: Path | None) -> Iterator[str]:
    """Titles and abstracts."""
    if data is not None:
        with gzip.open(sorted((data / "abstracts").glob("abstracts-*.jsonl.gz"))[0], "rt", encoding="utf-8") as lines:
            for line, _ in zip(lines, range(2000), strict=False):
                row = json.loads(line)
                yield f"{row['title']} {row['abstract']}"
        return
    from pubmedbert.infer.engines import gate

    sentences = Path(gate.__file__).with_name("gate_sentences.txt").read_text(encoding="utf-8").split("\n")
    rng = np.random.default_rng(0)
    for length in rng.normal(10, 4, 2000).clip(2, 20).astype(int):
        yield " ".join(rng.choice(sentences, length))
