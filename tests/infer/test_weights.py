"""What the engines read is what torch loads: the same weights, and the same sentences where there are none."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pubmedbert.infer.engines import weights
from pubmedbert.infer.engines.weights import fingerprint, read_checkpoint
from pubmedbert.infer.export.export import export
from pubmedbert.model import hf
from pubmedbert.model.checkpoint import Checkpoint, Part
from pubmedbert.model.config import ModelError
from pubmedbert.model.head import Head
from pubmedbert.model.tuned import Tuned
from pubmedbert.model.tuned_hf import load_tuned, save_tuned
from tests.model.reference import SMALL, our_model, randomise

HEAD = "cls.predictions."
WORDS = "bert.embeddings.word_embeddings.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    hf.save(our_model(pooler=True), made)
    return made


def change(folder: Path, **values: torch.Tensor | None) -> None:
    """Set tensors by name, with __ for a dot; None removes one."""
    path = folder / "model.safetensors"
    state = load_file(path) | {name.replace("__", "."): value for name, value in values.items()}
    save_file({name: value for name, value in state.items() if value is not None}, path)


def configure(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def as_pickle(folder: Path, *, zipped: bool = True) -> Path:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    return path


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


BROKEN: dict[str, Callable[[Path], object]] = {
    "no config": lambda folder: (folder / "config.json").unlink(),
    "no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "no object": lambda folder: (folder / "config.json").write_text("[1]"),
    "another kind": lambda folder: configure(folder, model_type="roberta"),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "cut": lambda folder: cut(folder / "model.safetensors", 0.5),
    "empty": lambda folder: cut(folder / "model.safetensors", 0),
    "a cut pickle": lambda folder: cut(as_pickle(folder), 0.5),
    "an empty pickle": lambda folder: cut(as_pickle(folder), 0),
    "fewer layers": lambda folder: configure(folder, num_hidden_layers=3),
    "more layers": lambda folder: configure(folder, num_hidden_layers=1),
    "another width": lambda folder: configure(folder, hidden_size=64),
    "a missing weight": lambda folder: change(folder, **{WORDS: None}),
    "a weight too many": lambda folder: change(folder, bert__extra=torch.ones(2)),
    "no head": lambda folder: [
        save_file(
            {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith(HEAD)},
            folder / "model.safetensors",
        )
    ],
    "half a head": lambda folder: change(folder, cls__predictions__bias=None),
    "a wrong decoder": lambda folder: change(folder, cls__predictions__decoder__weight=torch.ones(7, 32)),
    "a weight twice": lambda folder: change(folder, bert__embeddings__LayerNorm__gamma=torch.ones(32)),
    "an odd kind": lambda folder: change(folder, bert__extra=torch.ones(2).to(torch.float8_e4m3fn)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_torch_and_engines_say_the_same_of_broken_folders(folder: Path, name: str) -> None:
    BROKEN[name](folder)
    with pytest.raises(ModelError) as of_torch:
        hf.load(folder, need_vocabulary=True)
    with pytest.raises(ModelError) as of_engines:
        read_checkpoint(folder, "mlm")
    assert str(of_torch.value) == str(of_engines.value)
    assert str(folder) in str(of_engines.value)
    assert "\n" not in str(of_engines.value)


@pytest.mark.parametrize("form", ["safetensors", "zip", "older"])
@pytest.mark.parametrize("tied", [True, False])
def test_weights_are_those_of_torch(folder: Path, form: str, tied: bool) -> None:
    if not tied:
        change(
            folder,
            cls__predictions__decoder__weight=torch.rand(120, 32),
            cls__predictions__decoder__bias=torch.rand(120),
        )
    if form != "safetensors":
        as_pickle(folder, zipped=form == "zip")
    model, found = hf.load(folder, need_vocabulary=True), read_checkpoint(folder, "mlm")
    assert found.config == model.config
    assert found.config.tied == tied
    assert found.values["model_type"] == "bert"
    assert found.source.parent == folder
    expected = hf.state_to_hf(model)
    expected.pop(HEAD + "decoder.bias", None)
    assert found.tensors.keys() == expected.keys()
    assert all(np.array_equal(found.tensors[name], value.numpy()) for name, value in expected.items())


def test_an_encoder_needs_no_head(folder: Path) -> None:
    BROKEN["no head"](folder)
    found = read_checkpoint(folder, "encoder")
    assert (found.has_vocabulary, found.has_pooler, found.head) == (False, True, None)


@pytest.mark.parametrize("head", [Head(level="tokens", labels=("O", "B")), Head(level="text", labels=("a", "b", "c"))])
def test_fine_tuned(tmp_path: Path, head: Head) -> None:
    model = Tuned(SMALL, head)
    randomise(model)
    save_tuned(model, tmp_path, {"task": "any"})
    change(tmp_path, cls__predictions__bias=torch.ones(120))
    found, again = read_checkpoint(tmp_path, "tuned"), load_tuned(tmp_path)[0]
    assert found.head == head
    assert found.has_pooler == (head.level == "text")
    assert not found.has_vocabulary
    assert np.array_equal(found.tensors["classifier.weight"], again.classifier.weight.detach().numpy())


def test_a_fingerprint_is_of_the_content(folder: Path, tmp_path: Path) -> None:
    mark = fingerprint(folder)
    assert fingerprint(shutil.copytree(folder, tmp_path / "elsewhere")) == mark
    configure(folder, dtype="float32", hidden_dropout_prob=0.3, transformers_version="5", architectures=["BertModel"])
    assert fingerprint(folder) == mark  # as before
    change(folder, bert__embeddings__position_ids=torch.arange(64)[None])  # a buffer, which is no weight
    assert fingerprint(folder) == mark
    for name in ("bert.encoder.layer.1.output.dense.bias", WORDS):
        state = load_file(folder / "model.safetensors")
        state[name].view(-1)[-1] += 1e-3
        save_file(state, folder / "model.safetensors")
        assert fingerprint(folder) not in (mark, fingerprint(tmp_path / "elsewhere"))
        mark = fingerprint(folder)
    configure(folder, layer_norm_eps=1e-6)
    assert fingerprint(folder) != mark
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match=r"cannot read config\.json"):
        fingerprint(folder)


@pytest.mark.parametrize("form", ["safetensors", "pickle", "untied", "half"])
def test_an_export_is_the_same_model(padded_vocabulary: Path, tmp_path: Path, form: str) -> None:
    folder = Path(shutil.copytree(padded_vocabulary, tmp_path / "model"))
    if form == "untied":
        words = load_file(folder / "model.safetensors")[WORDS]
        change(folder, cls__predictions__decoder__weight=words + 1)
        configure(folder, tie_word_embeddings=False)
    if form == "half":
        state = load_file(folder / "model.safetensors")
        save_file({name: value.half() for name, value in state.items()}, folder / "model.safetensors")
    if form == "pickle":
        as_pickle(folder)
    mark = fingerprint(folder)
    assert (mark == fingerprint(padded_vocabulary)) == (form in ("safetensors", "pickle"))
    export(folder, tmp_path / "out")
    assert fingerprint(tmp_path / "out") == mark
    export(tmp_path / "out", tmp_path / "half", "float16")
    assert (fingerprint(tmp_path / "half") == mark) == (form == "half")  # otherwise other numbers


def test_a_fingerprint_of_a_tuned_model_is_of_all_it_says(tmp_path: Path) -> None:
    model = Tuned(SMALL, Head(level="tokens", labels=("O", "B-drug")))
    save_tuned(model, tmp_path, {})
    marks = [fingerprint(tmp_path)]
    change(tmp_path, classifier__bias=torch.ones(2))
    marks.append(fingerprint(tmp_path))
    configure(tmp_path, id2label={"0": "O", "1": "B-gene"})
    marks.append(fingerprint(tmp_path))
    assert len(set(marks)) == 3


def test_hashes_of_large_files_are_remembered(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBMEDBERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "_LARGE", 0)
    path = folder / "model.safetensors"
    fingerprint(folder)
    assert not (tmp_path / "cache").exists()  # changed a moment ago: it may change again unseen
    monkeypatch.setattr(weights, "_SETTLED", 0)
    mark = fingerprint(folder)
    read: list[Path] = []

    def reading(folder: Path, part: Part) -> Checkpoint:
        read.append(folder)
        return read_checkpoint(folder, part)

    monkeypatch.setattr(weights, "read_checkpoint", reading)
    assert fingerprint(folder) == mark
    assert read == []
    for kept in (tmp_path / "cache").rglob("fingerprint"):  # as one cleans up by age, leaving folders
        kept.unlink()
    assert fingerprint(folder) == mark
    assert read == [folder]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    times = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # even so
    assert fingerprint(folder) != mark
    assert read == [folder, folder]
    configure(folder, layer_norm_eps=1e-6)
    assert fingerprint(folder) != mark
