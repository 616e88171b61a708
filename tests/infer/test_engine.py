"""Engines: equal to the torch model, whatever the rows; converted once; choosing between fp32 and int8."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pubmedbert.errors import InputError
from pubmedbert.infer import engine as engines
from pubmedbert.infer.engine import Engine, open_encoder, open_engine
from pubmedbert.infer.engines import quantise
from pubmedbert.infer.engines.converted import convert
from pubmedbert.infer.engines.verdict import write_verdict
from pubmedbert.infer.engines.weight_file import matrices
from pubmedbert.infer.engines.weights import fingerprint, read_checkpoint
from pubmedbert.model import hf
from pubmedbert.model.config import ModelError
from pubmedbert.model.locate import BUNDLED
from tests.infer.conftest import outspoken
from tests.infer.minilm import MINILM
from tests.infer.tuned_folders import HEADS, tuned_folder
from tests.model.reference import SMALL, our_model

Row = tuple[list[int], list[int], int]
"""Ids, places asked for, and where the second segment begins."""


@st.composite
def some_rows(draw: st.DrawFn) -> list[Row]:
    rows = []
    for length in draw(st.lists(st.sampled_from([1, 2, 7, 7, 7, 40]), min_size=1, max_size=6)):
        ids = draw(st.lists(st.integers(0, 119), min_size=length, max_size=length))
        places = draw(st.lists(st.integers(0, length - 1), max_size=4))
        rows.append((ids, places, draw(st.integers(0, length))))
    return rows


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    hf.save(our_model(), folder)
    return folder


@pytest.fixture
def with_int8(tmp_path: Path) -> Path:
    """A model folder that may be used in int8, though no one judged it."""
    hf.save(outspoken(120), tmp_path)
    names = matrices(read_checkpoint(tmp_path, "mlm").config, vocabulary=True)
    write_verdict(tmp_path, fingerprint(tmp_path), {}, frozenset(names))
    return tmp_path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PUBMEDBERT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def pair(small: Path) -> tuple[list[Engine], Engine]:
    """The engine with one thread and with two, and torch."""
    return [open_engine(small, threads=threads) for threads in (1, 2)], open_engine(small, backend="torch")


@settings(max_examples=40)
@given(some_rows())
def test_onnx_equals_torch(pair: tuple[list[Engine], Engine], rows: list[Row]) -> None:
    ids, where, seconds = [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
    ours, torch = pair
    expected = torch.logits(ids, where)
    states = [torch.hidden(ids, where, seconds), torch.hidden(ids, None, seconds), torch.hidden(ids)]
    for engine in ours:
        logits = engine.logits(ids, where)
        assert logits.shape == (sum(len(row[1]) for row in rows), 120)
        assert np.abs(logits - expected).max(initial=0) < 1e-4
        found = [engine.hidden(ids, where, seconds), engine.hidden(ids, None, seconds), engine.hidden(ids)]
        for mine, theirs in zip(found, states, strict=True):
            assert [part.shape for part in mine] == [part.shape for part in theirs]
            assert max(np.abs(a - b).max(initial=0) for a, b in zip(mine, theirs, strict=True)) < 1e-4


@pytest.mark.parametrize("folder", [BUNDLED, MINILM], ids=["bundled", "MiniLM"])
def test_trained_models_equal_torch(folder: Path) -> None:
    rows = [np.random.default_rng(n).integers(1000, 30000, n).tolist() for n in (3, 20, 20, 200, 512)]
    ours, torch = open_encoder(folder), open_encoder(folder, backend="torch")
    assert (ours.name, torch.name) == ("onnx fp32", "torch fp32")
    assert (ours.width, ours.max_positions) == (torch.width, torch.max_positions)
    for mine, theirs in zip(ours.hidden(rows), torch.hidden(rows), strict=True):
        assert np.abs(mine - theirs).max() < 1e-4


def test_the_bundled_model_scores_as_torch_does() -> None:
    rows = [np.random.default_rng(n).integers(1000, 30000, n).tolist() for n in (5, 60)]
    logits = [open_engine(BUNDLED, backend=name).logits(rows, [[1], [0, 59]]) for name in ("onnx", "torch")]
    assert np.abs(logits[0] - logits[1]).max() < 1e-4


def test_a_tuned_encoder(tmp_path: Path) -> None:
    folder = tuned_folder(tmp_path / "tags", HEADS["tags"])
    rows = [[101, 2000, 3000, 102], [101, 102]]
    ours, torch = (open_encoder(folder, part="tuned", backend=name) for name in ("onnx", "torch"))
    for mine, theirs in zip(ours.hidden(rows), torch.hidden(rows), strict=True):
        assert np.abs(mine - theirs).max() < 1e-4
    with pytest.raises(InputError, match="a fine-tuned model is computed in fp32"):
        open_encoder(folder, part="tuned", precision="int8")
    with pytest.raises(ModelError, match="no masked-language-model head"):
        open_engine(folder)


def test_rows_without_places_and_no_rows(small: Path) -> None:
    engine = open_engine(small)
    assert engine.logits([], []).shape == (0, 120)
    assert engine.logits([[1, 2]], [[]]).shape == (0, 120)
    assert engine.hidden([]) == []
    assert [states.shape for states in engine.hidden([[1, 2], [3]], [[], [0]])] == [(0, 32), (1, 32)]


def test_int8_is_near_and_does_not_depend_on_other_rows(with_int8: Path) -> None:
    exact, rounded = open_engine(with_int8, precision="fp32"), open_engine(with_int8, threads=2)
    assert (exact.name, rounded.name) == ("onnx fp32", "onnx int8")
    rows = [np.random.default_rng(n).integers(0, 120, 6 + n % 3).tolist() for n in range(12)]
    where = [[n % 6] for n in range(12)]
    far = np.abs(exact.logits(rows, where) - rounded.logits(rows, where)).max()
    assert 0 < far < 0.2
    alone = np.concatenate([rounded.logits([row], [places]) for row, places in zip(rows, where, strict=True)])
    assert np.array_equal(rounded.logits(rows, where), alone)
    assert np.array_equal(open_engine(with_int8, one_shot=True).logits(rows, where), alone)
    assert open_encoder(with_int8).name == "onnx fp32"  # states were not judged
    states = open_encoder(with_int8, precision="int8").hidden(rows[:1])
    assert 0 < np.abs(states[0] - open_encoder(with_int8).hidden(rows[:1])[0]).max() < 0.2


def test_threads_may_share_an_engine(with_int8: Path) -> None:
    engine = open_engine(with_int8, threads=2)
    asked = [([[number, 7, number % 5]] * (1 + number % 3), [[1]] * (1 + number % 3)) for number in range(40)]
    expected = [engine.logits(*one) for one in asked]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: engine.logits(*one), asked))
    assert all(map(np.array_equal, found, expected))


def test_which_precision_is_used(small: Path) -> None:
    assert open_engine(small).name == "onnx fp32"
    with pytest.raises(InputError, match="has no int8 export; make one with: pubmedbert export"):
        open_engine(small, precision="int8")
    with pytest.raises(InputError, match="torch computes fp32 only"):
        open_engine(small, precision="int8", backend="torch")
    with pytest.raises(InputError, match="backend must be one of auto, onnx, torch, not 'openvino'"):
        open_engine(small, backend="openvino")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="precision must be one of fp32, int8, not 'INT8'"):
        open_encoder(small, precision="INT8")  # type: ignore[arg-type]


def test_processors_with_and_without_vnni_share_a_cache(
    with_int8: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a conversion in the form that it multiplies exactly, and both give the same bits."""
    found = []
    for signed in (quantise.multiplies_signed(), False):
        monkeypatch.setattr(quantise, "multiplies_signed", lambda signed=signed: signed)
        found.append(open_engine(with_int8, precision="int8").logits([[1, 2, 3]], [[1]]))
    assert np.array_equal(found[0], found[1])
    assert len(list(cache.glob("onnx-*-uint8-*"))) == 1


@pytest.mark.parametrize("harm", ["weights", "version", "nothing"])
def test_a_verdict_that_does_not_belong_is_left_alone(with_int8: Path, harm: str) -> None:
    file = with_int8 / "int8.json"
    if harm == "weights":
        model = hf.load(with_int8)
        model.encoder.embeddings.words.weight.data[3] += 1
        hf.save(model, with_int8)
    else:
        values = json.loads(file.read_text())
        changed: dict[str, object] = {"version": 0} if harm == "version" else {"int8_matrices": []}
        file.write_text(json.dumps(values | changed))
    assert open_engine(with_int8).name == "onnx fp32"
    with pytest.raises(InputError, match=r"int8\.json is of another version of pubmedbert, or of other weights"):
        open_engine(with_int8, precision="int8")


def test_verdicts_that_are_damaged(with_int8: Path) -> None:
    file = with_int8 / "int8.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"int8_matrices": ["../../evil"]}))
    with pytest.raises(InputError, match=r"has no matrix '\.\./\.\./evil' that could be rounded"):
        open_engine(with_int8)
    file.write_text("{")
    with pytest.raises(InputError, match=r"int8\.json is not JSON"):
        open_engine(with_int8)


def test_a_model_replaced_in_place_mixes_with_no_other(with_int8: Path) -> None:
    """The second way to run is opened after the folder holds another model: it still runs the first."""
    rows, where = [[1, 2, 3], [4, 5, 6]], [[1], [1]]
    whole = open_engine(with_int8, precision="int8", threads=2).logits(rows, where)
    engine = open_engine(with_int8, precision="int8", threads=2)
    assert np.array_equal(engine.logits(rows[:1], where[:1]), whole[:1])
    model = hf.load(with_int8)
    model.encoder.embeddings.words.weight.data *= 2
    hf.save(model, with_int8)
    names = matrices(read_checkpoint(with_int8, "mlm").config, vocabulary=True)
    write_verdict(with_int8, fingerprint(with_int8), {}, frozenset(names))
    assert np.array_equal(engine.logits(rows, where), whole)
    assert not np.array_equal(open_engine(with_int8).logits(rows, where), whole)


def test_a_model_replaced_while_it_is_converted(
    small: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "model"))

    def converted(*arguments: Any) -> None:
        real(*arguments)
        (folder / "config.json").write_text((small / "config.json").read_text().replace("1e-12", "1e-6"))

    real = convert
    monkeypatch.setattr("pubmedbert.infer.engines.converted.convert", converted)
    with pytest.raises(InputError, match="was replaced while it was read; try again"):
        open_engine(folder)
    assert [path.name for path in cache.iterdir()] == ["locks"]


def test_a_model_is_converted_once(small: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_engine(small).logits([[1, 2, 3]], [[1]])
    monkeypatch.setattr("pubmedbert.infer.engines.converted.convert", None)
    assert np.array_equal(open_engine(small).logits([[1, 2, 3]], [[1]]), first)
    copy = shutil.copytree(small, cache.parent / "copy")
    assert np.array_equal(open_engine(Path(copy)).logits([[1, 2, 3]], [[1]]), first)
    assert [states.shape for states in open_encoder(small).hidden([[1, 2]])] == [(2, 32)]


def test_a_conversion_that_is_deleted_in_use_is_made_anew(small: Path, cache: Path, tmp_path: Path) -> None:
    """What runs several rows is opened when there are several for the first time."""
    rows, where = [[1, 2, 3], [4, 5, 6, 7]], [[1], [1]]
    expected = open_engine(small, threads=2).logits(rows, where)
    model = Path(shutil.copytree(small, tmp_path / "model"))
    engines = [open_engine(model, threads=2) for _ in range(2)]
    assert np.allclose(engines[0].logits(rows[:1], where[:1]), expected[:1], atol=1e-5)
    shutil.rmtree(cache)
    assert np.array_equal(engines[0].logits(rows, where), expected)
    shutil.rmtree(cache)
    (model / "config.json").write_text((model / "config.json").read_text().replace("1e-12", "1e-6"))
    with pytest.raises(InputError, match="was deleted while it was in use, and its model was changed; start again"):
        engines[1].logits(rows, where)


@pytest.mark.parametrize("file", ["weights.bin", "logits.onnx", "manifest.json"])
def test_a_damaged_conversion_is_made_anew(small: Path, cache: Path, file: str) -> None:
    first = open_engine(small).logits([[1, 2, 3]], [[1]])
    (made,) = cache.glob(f"onnx-*/{file}")
    made.write_bytes(made.read_bytes()[: made.stat().st_size // 2])
    assert np.array_equal(open_engine(small).logits([[1, 2, 3]], [[1]]), first)
    made.unlink()
    assert np.array_equal(open_engine(small).logits([[1, 2, 3]], [[1]]), first)


def test_threads(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="threads must be at least 1, not 0"):
        open_engine(small, threads=0)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert engines.thread_count(None) == 3
    assert engines.thread_count(2) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert engines.thread_count(None) >= 1


def test_one_shot_with_many_rows(small: Path) -> None:
    rows = [[1, 2, number % 120] for number in range(300)]
    where = [[1]] * 300
    assert (
        np.abs(open_engine(small, one_shot=True).logits(rows, where) - open_engine(small).logits(rows, where)).max()
        < 1e-5
    )


def test_neither_torch_nor_onnx_is_imported_once_converted(small: Path) -> None:
    open_engine(small)
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None\n"
        "from pathlib import Path; from pubmedbert.infer.engine import open_engine\n"
        "print(open_engine(Path(sys.argv[1])).logits([[1, 2]], [[0]]).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(small)], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 120)\n"


def test_models_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no masked-language-model head"):
        open_engine(MINILM)
    with pytest.raises(ModelError):
        open_engine(tmp_path)
    hf.save(our_model(SMALL), tmp_path)
    os.truncate(tmp_path / "model.safetensors", 1000)
    with pytest.raises(ModelError, match="cannot be read as weights"):
        open_engine(tmp_path)
