"""Fine-tuned folders with random weights that have much to say, and BERT's own tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from pubmedbert.model.config import ModelConfig
from pubmedbert.model.head import Head
from pubmedbert.model.tuned import Tuned
from pubmedbert.model.tuned_hf import save_tuned
from tests.infer.minilm import MINILM, TOKENIZER_FILES
from tests.model.reference import randomise

TAGS = ("O", "B-Disease", "I-Disease", "B-Drug", "I-Drug")
HEADS = {
    "tags": Head(level="tokens", labels=TAGS),
    "single": Head(level="text", labels=("no", "maybe", "yes")),
    "mean": Head(level="text", labels=("no", "yes"), pooling="mean"),
    "multi": Head(level="text", labels=("a", "b", "c", "d"), problem="multi"),
    "regression": Head(level="text", labels=("score",), problem="regression"),
}


def tuned(head: Head) -> Tuned:
    """A random model whose answers differ from word to word."""
    config = ModelConfig(vocab_size=30522, layers=2, width=32, heads=4, ffn=48, max_positions=64)
    model = Tuned(config, head).eval()
    randomise(model)
    with torch.no_grad():
        model.encoder.embeddings.words.weight *= 25
        model.classifier.weight *= 10
    return model


def tuned_folder(folder: Path, head: Head, **extra: object) -> Path:
    folder.mkdir()
    save_tuned(tuned(head), folder, extra)
    for name in TOKENIZER_FILES:
        shutil.copy(MINILM / name, folder)
    return folder
