"""Masks are filled and texts labelled on a machine without torch, from what PubMedBERT is published as."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pubmedbert.infer.labels.predict import Predictor
from pubmedbert.infer.masks.fill_mask import FillMask
from pubmedbert.model import hf
from tests.infer.conftest import outspoken
from tests.infer.minilm import MINILM
from tests.infer.tuned_folders import HEADS, tuned_folder

TEXT = "[MASK] is a tyrosine kinase inhibitor."


def as_published(folder: Path, *, zipped: bool) -> Path:
    """Leave config.json, vocab.txt and pytorch_model.bin, in which LayerNorm has its old names."""
    state = load_file(folder / "model.safetensors")
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in state.items()}
    for path in folder.iterdir():
        if path.name not in ("config.json", "vocab.txt"):
            path.unlink()
    torch.save(old, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    return folder


def run(code: str, cache: Path) -> Any:
    """What a process that cannot import torch prints."""
    blocked = "import sys\nfor name in ('torch', 'transformers'):\n    sys.modules[name] = None\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", blocked + code],
        env=os.environ | {"PUBMEDBERT_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("zipped", [True, False])
def test_fill_mask(tmp_path: Path, zipped: bool) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    hf.save(outspoken(30522), folder)
    shutil.copy(MINILM / "vocab.txt", folder)
    expected: Any = FillMask(folder, backend="torch")(TEXT)
    as_published(folder, zipped=zipped)
    command = f"from pubmedbert.cli import main\nmain(['fill-mask', {TEXT!r}, '--json', '--model', {str(folder)!r}])"
    found = run(command, tmp_path / "cache")
    assert [answer["sequence"] for answer in found] == [answer["sequence"] for answer in expected]
    assert [answer["score"] for answer in found] == pytest.approx([answer["score"] for answer in expected], abs=1e-4)
    assert any((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("name", HEADS)
def test_predict(tmp_path: Path, name: str) -> None:
    folder = tuned_folder(tmp_path / "model", HEADS[name])
    expected: Any = Predictor(folder, backend="torch").predict_texts([TEXT])
    as_published(folder, zipped=True)
    code = (
        "import json\nfrom pubmedbert import Predictor\n"
        f"print(json.dumps(Predictor({str(folder)!r}).predict_texts([{TEXT!r}])))"
    )
    found = run(code, tmp_path / "cache")
    assert found[0].keys() == expected[0].keys()
    if "entities" in expected[0]:
        assert [one | {"score": 0} for one in found[0]["entities"]] == [
            one | {"score": 0} for one in expected[0]["entities"]
        ]
        found, expected = found[0]["entities"], expected[0]["entities"]
        assert len(found) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.get("label") == other.get("label")
        assert one.get("labels") == other.get("labels")
        assert one["score" if "score" in other else "scores"] == pytest.approx(
            other["score" if "score" in other else "scores"], abs=1e-4
        )
