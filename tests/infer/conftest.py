"""Small models with real tokenizers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pubmedbert.cli import main
from pubmedbert.model import hf
from pubmedbert.model.config import ModelConfig
from pubmedbert.model.heads import Bert
from pubmedbert.vocab.folder import SPECIALS, build, save
from tests.infer.minilm import MINILM, TOKENIZER_FILES
from tests.infer.tuned_folders import HEADS, tuned_folder
from tests.model.reference import our_model

WORDS = [*SPECIALS, "a", "b", "c", ".", ",", "##b", "##c", "##mab", "imatinib", "inhibitor", "is", "kinase", "the"]
WORDS.append("tyrosine")
"""A vocabulary of 19 pieces."""


def outspoken(vocab_size: int, max_positions: int = 64) -> Bert:
    """A random model whose probabilities differ enough for their order to be certain."""
    model = our_model(
        ModelConfig(vocab_size=vocab_size, layers=2, width=32, heads=4, ffn=48, max_positions=max_positions)
    )
    with torch.no_grad():
        model.encoder.embeddings.words.weight *= 25
    return model


@pytest.fixture(scope="session")
def large_vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the 30,522 pieces of BERT's uncased vocabulary."""
    folder = tmp_path_factory.mktemp("models") / "large"
    folder.mkdir()
    hf.save(outspoken(30522), folder)
    for name in TOKENIZER_FILES:
        shutil.copy(MINILM / name, folder)
    return folder


@pytest.fixture(scope="session")
def padded_vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with 32 rows of embeddings for a tokenizer of 19 pieces."""
    folder = tmp_path_factory.mktemp("models") / "padded"
    save(build(WORDS), folder)
    hf.save(outspoken(32), folder)
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Fine-tuned models, by the name of the head."""
    root = tmp_path_factory.mktemp("tuned")
    return {name: tuned_folder(root / name, head) for name, head in HEADS.items()}


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must end with exit code 2 and one sentence, which is returned."""

    def run(*tokens: object) -> str:
        with pytest.raises(SystemExit) as caught:
            main([str(token) for token in tokens])
        assert caught.value.code == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("error: ")
        assert output.err.count("\n") == 1
        assert "Traceback" not in output.err
        return output.err.removeprefix("error: ").strip()

    return run
