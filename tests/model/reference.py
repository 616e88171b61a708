"""Models made by transformers and by us, and both run on the same rows."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM

from pubmedbert.model.config import ModelConfig, config_to_hf
from pubmedbert.model.heads import Bert

SMALL = ModelConfig(vocab_size=120, layers=2, width=32, heads=4, ffn=48, max_positions=40)


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Give every parameter, biases and norms too, values of its own, so that no two can be swapped unseen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.uniform_(-0.06, 0.06, generator=generator)
            if parameter.ndim == 1 and name.endswith("weight"):  # of a norm
                parameter.add_(1.0)


def our_model(config: ModelConfig = SMALL, *, pooler: bool = False, vocabulary: bool = True) -> Bert:
    model = Bert(config, vocabulary=vocabulary, pooler=pooler).eval()
    randomise(model)
    return model


def their_model(config: ModelConfig = SMALL) -> BertForMaskedLM:
    values = config_to_hf(config)
    del values["architectures"]
    with torch.device("meta"):
        model = BertForMaskedLM(BertConfig(**values))
    model = model.to_empty(device="cpu").eval()
    model.bert.embeddings.position_ids = torch.arange(config.max_positions)[None]
    model.bert.embeddings.token_type_ids = torch.zeros(1, config.max_positions, dtype=torch.long)
    model.tie_weights()
    randomise(model)
    return model


def load_theirs(folder: Path, kind: Any = BertForMaskedLM) -> Any:
    """Load with transformers; a parameter it had to make up is an error."""
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        model, info = kind.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not info["missing_keys"], info
    assert not info["mismatched_keys"], info
    return model.eval()


def some_rows(config: ModelConfig, lengths: Sequence[int], seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, config.vocab_size, (length,), generator=generator).tolist() for length in lengths]


def keep_all(shapes: Sequence[Sequence[int]], threshold: int) -> Iterator[Tensor]:
    """Coins by which nothing is dropped."""
    yield from (torch.ones(tuple(shape), dtype=torch.int32) for shape in shapes)


def our_hidden(model: Bert, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """Hidden states `[T, D]` of each row, the rows in one pack."""
    lengths = [len(row) for row in rows]
    tokens = torch.tensor([token for row in rows for token in row])  # [N]
    positions = torch.cat([torch.arange(length) for length in lengths])  # [N]
    with torch.inference_mode():
        return list(model(tokens, positions, torch.zeros_like(tokens), lengths).split(lengths))


def our_logits(model: Bert, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """Logits `[T, V]` of each row, the rows in one pack."""
    with torch.inference_mode():
        return [model.logits(hidden) for hidden in our_hidden(model, rows)]


def their_logits(model: BertForMaskedLM, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """Logits `[T, V]` of each row, the rows padded to one batch."""
    longest = max(len(row) for row in rows)
    tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])  # [B, T]
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])  # [B, T]
    with torch.inference_mode():
        logits = model(input_ids=tokens, attention_mask=mask).logits  # [B, T, V]
    return [logits[index, : len(row)] for index, row in enumerate(rows)]


def furthest(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """The largest difference between two lists of tensors."""
    return max(float((one - other).abs().max()) for one, other in zip(left, right, strict=True))
