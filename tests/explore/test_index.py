"""An index is the same however often its making is killed; a damaged or foreign one is refused."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from pubmedbert.cli import main
from pubmedbert.errors import InputError
from pubmedbert.explore import index as indexing
from pubmedbert.explore.index import make_index, open_layer
from pubmedbert.explore.index_files import FILES, Index, open_index
from pubmedbert.explore.neighbours import neighbours
from pubmedbert.explore.view import ExploredModel
from pubmedbert.files import write_json
from pubmedbert.infer.engines.weights import fingerprint, read_checkpoint
from pubmedbert.infer.tokenizer import ModelTokenizer
from pubmedbert.vocab.folder import write_files
from tests.corpus.samples import write_records
from tests.explore.conftest import FakeCorpus
from tests.infer.tuned_folders import HEADS, tuned_folder

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def made(large_vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_index(FakeCorpus(), large_vocabulary, tmp_path_factory.mktemp("index") / "index")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_word_has_the_state_that_the_model_computes(made: Index, explored: ExploredModel) -> None:
    texts = list(FakeCorpus().texts())
    assert made.documents == [doc_id for doc_id, _, _ in texts]
    assert made.meta["documents"] == 70
    sentences = [made.sentence(number) for number in range(len(made.sentences))]
    assert "No title, no PMID: [SEP] naïve β-cells." in sentences
    assert made.meta["text_bytes"] == sum(len(sentence.encode()) for sentence in sentences)
    for number in np.random.default_rng(0).choice(len(made.words), 40, replace=False):
        word = made.words[number]
        text = sentences[word["sentence"]]
        assert any(map(str.isalnum, text[word["start"] : word["end"]]))
        view = explored.view(text.replace("[SEP]", "( SEP )"))
        if "[SEP]" in text:
            continue
        (places,) = [
            places for places in view.row.words().values() if view.row.tokens[places[0]].start == word["start"]
        ]
        state = view.hidden[2][places].mean(axis=0)
        stored = made.vectors[number].astype(np.float64) * word["scale"]
        assert np.linalg.norm(stored) == pytest.approx(1, abs=1e-6)
        assert stored @ state / np.linalg.norm(state) > 0.9999
    assert "".join(sorted({made.documents[each] for each in made.sentences["document"]}))[-5:] == "x0123"


def test_words_without_letters_have_no_vector_and_long_sentences_are_cut(padded_vocabulary: Path) -> None:
    tokenizer = ModelTokenizer(padded_vocabulary, 32)
    texts = ["a, b.", ".,.", "a abcbcbcb b c", "a" + "b" * 20]
    rows = list(indexing._rows(texts, tokenizer.pieces, 8))
    words = [[texts[row.sentence][start:end] for start, end in row.spans] for row in rows]
    assert words[0] == ["a", "b"]
    assert [row.sentence for row in rows].count(1) == 0
    assert [word for row, found in zip(rows, words, strict=True) if row.sentence == 2 for word in found] == (
        ["a", "abcbcb", "b", "c"]  # of a word that is longer than a row, the beginning
    )
    assert all(3 <= len(row.row) <= 8 for row in rows)
    assert all(max(row.places) < len(row.row) - 1 for row in rows)
    assert rows[-1].spans[0][0] == 0


class Killed(BaseException):
    """A process that ends at any point."""


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(st.tuples(st.integers(1, 6), st.binary(max_size=40)), min_size=1, max_size=3))
def test_killed_runs_go_on_to_the_same_bytes(
    made: Index,
    large_vocabulary: Path,
    tmp_path: Path,
    kills: list[tuple[int, bytes]],
) -> None:
    out = tmp_path / "index"
    shutil.rmtree(out, ignore_errors=True)
    for after, garbage in kills:
        steps = iter(range(after - 1))

        def die(path: Path, value: object, steps: Iterator[int] = steps) -> None:
            if next(steps, None) is None:
                raise Killed
            write_json(path, value)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pubmedbert.explore.index.write_json", die)
            try:
                make_index(FakeCorpus(), large_vocabulary, out)
            except Killed:
                if (out / "progress.json").exists():
                    for name in FILES:  # what was on its way to the disk
                        with (out / name).open("ab") as file:
                            file.write(garbage)
    make_index(FakeCorpus(), large_vocabulary, out)
    assert contents(out) == contents(made.folder)


def test_killed_before_the_first_step(made: Index, large_vocabulary: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    out.mkdir()
    (out / f".progress.json.{os.getpid()}.tmp").write_text("{")
    make_index(FakeCorpus(), large_vocabulary, out)
    assert contents(out) == contents(made.folder)


def test_it_is_made_once(made: Index, large_vocabulary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "_vectors", None)
    again = make_index(FakeCorpus(), large_vocabulary, made.folder, layer=2)
    assert again.meta == made.meta


def test_other_inputs_are_refused(
    made: Index,
    large_vocabulary: Path,
    padded_vocabulary: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match="holds an index made with another layer; choose another --out"):
        make_index(FakeCorpus(), large_vocabulary, made.folder, layer=1)
    with pytest.raises(InputError, match="made with another corpus and limit; choose"):
        make_index(FakeCorpus(5), large_vocabulary, made.folder, limit=2)
    with pytest.raises(InputError, match="made with another model and tokenizer"):
        make_index(FakeCorpus(), padded_vocabulary, made.folder)
    with pytest.raises(InputError, match="--layer must be from 1 to 2, the layers of this model, not 3"):
        make_index(FakeCorpus(), large_vocabulary, tmp_path / "new", layer=3)
    with pytest.raises(InputError, match="--limit must be at least 1, not 0"):
        make_index(FakeCorpus(), large_vocabulary, tmp_path / "new", limit=0)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(InputError, match=r"holds photo\.jpg and no index; choose another --out"):
        make_index(FakeCorpus(), large_vocabulary, tmp_path)
    with pytest.raises(InputError, match="made with another model, or with other weights"):
        made.require(ExploredModel(padded_vocabulary).fingerprint, "")


def test_an_index_is_of_one_tokenizer(large_vocabulary: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(large_vocabulary, tmp_path / "model"))
    index = make_index(FakeCorpus(5), folder, tmp_path / "index")
    exported = tmp_path / "export"
    exported.mkdir()
    write_files(ModelTokenizer(folder, 30522).pieces, exported)
    index.require(fingerprint(folder), ModelTokenizer(exported, 30522).fingerprint)
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"do_lower_case": False}))
    with pytest.raises(InputError, match="holds an index made with another tokenizer; choose another --out"):
        make_index(FakeCorpus(5), folder, index.folder)
    model = ExploredModel(folder)
    with pytest.raises(InputError, match="was made with another tokenizer of this model; make an index for this one"):
        neighbours(index, model, model.view("a cell"), 1)


@pytest.mark.parametrize("layer", [1, 2])
def test_a_model_replaced_while_it_is_indexed_mixes_with_no_other(
    large_vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: int
) -> None:
    monkeypatch.setenv("PUBMEDBERT_CACHE", str(tmp_path / "cache"))
    folder = Path(shutil.copytree(large_vocabulary, tmp_path / "model"))
    old = load_file(folder / "model.safetensors")
    weights = {name: values + 1 for name, values in old.items()}

    class Replacing(FakeCorpus):
        """Hashed for so long that the model is another one meanwhile."""

        def fingerprint(self) -> str:
            save_file(weights, folder / "model.safetensors", {"format": "pt"})
            return super().fingerprint()

    with pytest.raises(InputError, match="was replaced after it was opened; start again"):
        make_index(Replacing(5), folder, tmp_path / "index", layer=layer)
    assert not (tmp_path / "index" / "meta.json").exists()
    save_file(old, folder / "model.safetensors", {"format": "pt"})

    def replaced(*arguments: Any) -> Any:
        found = read_checkpoint(*arguments)
        save_file(weights, tmp_path / "new", {"format": "pt"})
        (tmp_path / "new").replace(folder / "model.safetensors")  # what was read before stays mapped
        return found

    mark = fingerprint(folder)
    monkeypatch.setattr(indexing, "read_checkpoint", replaced)
    with pytest.raises(InputError, match="was replaced"):
        open_layer(folder, mark, layer, 1)
    assert not list((tmp_path / "cache").glob(f"onnx-*-{mark}-*"))


@pytest.mark.parametrize("name", ["mean", "tags"])
def test_fine_tuned_models(tmp_path: Path, name: str) -> None:
    model = ExploredModel(tuned_folder(tmp_path / name, HEADS[name]))
    for layer, of in ((2, "states"), (1, "states"), (2, "heads")):
        index = make_index(FakeCorpus(5), model.folder, tmp_path / f"{of}{layer}", layer=layer, of=of)  # type: ignore[arg-type]
        view = model.view(index.sentence(1))
        found = neighbours(index, model, view, 1, count=1)
        assert (found[0].sentence, found[0].start) == (index.sentence(1), 0)
        assert found[0].score == pytest.approx(1, abs=1e-3)


def test_a_full_disk_is_said(made: Index, large_vocabulary: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(InputError, match=f"cannot write {out}: File too large"):
            make_index(FakeCorpus(), large_vocabulary, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    make_index(FakeCorpus(), large_vocabulary, out)
    assert contents(out) == contents(made.folder)


def test_a_lower_layer_and_a_limit(made: Index, explored: ExploredModel, tmp_path: Path) -> None:
    lower = make_index(FakeCorpus(), explored.folder, tmp_path / "index", layer=1, limit=3)
    assert lower.documents == ["1", "2", "3"]
    view = explored.view(lower.sentence(0))
    stored = lower.vectors[0].astype(np.float64) * lower.words["scale"][0]
    state = view.hidden[1][view.row.words()[0]].mean(axis=0)
    assert stored @ state / np.linalg.norm(state) > 0.9999
    assert not np.array_equal(lower.vectors[0], made.vectors[0])


@pytest.mark.parametrize("layer", [1, 2])
def test_what_the_heads_give(explored: ExploredModel, tmp_path: Path, layer: int) -> None:
    index = make_index(FakeCorpus(5), explored.folder, tmp_path / "index", layer=layer, of="heads")
    assert index.of == "heads"
    view = explored.view(index.sentence(0))
    stored = index.vectors[0].astype(np.float64) * index.words["scale"][0]
    given = view.heads[layer - 1][view.row.words()[0]].mean(axis=0)
    assert stored @ given / np.linalg.norm(given) > 0.9999
    with pytest.raises(InputError, match="holds an index made with another kind; choose another --out"):
        make_index(FakeCorpus(5), explored.folder, index.folder, layer=layer)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_index_is_refused(made: Index, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(made.folder, tmp_path / "index"))
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"is damaged: .* has another size than it was made with; delete it"):
        open_index(folder)
    if name != "vectors.bin":
        (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(InputError, match=f"is damaged: {name} was changed; delete it and run pubmedbert explore"):
            open_index(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=r"is damaged: .* cannot be read \(No such file or directory\); delete it"):
        open_index(folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 2}, "says format 2; this version reads format 3"),
        ({"kind": "moods"}, "is damaged: meta.json does not say what it was made from"),
        ({"files": None}, "is damaged: "),
        ({"files": {}}, "is damaged: meta.json lacks 'vectors.bin'"),
        ({"width": 31}, "is damaged: cannot reshape"),
        ({"width": "x"}, "is damaged: "),
        ({"model": None}, "is damaged: meta.json does not say what it was made from"),
        ({"tokenizer": None}, "is damaged: meta.json does not say what it was made from"),
    ],
)
def test_damaged_meta_data_is_refused(made: Index, tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    folder = Path(shutil.copytree(made.folder, tmp_path / "index"))
    values = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(values | change))
    with pytest.raises(InputError, match=sentence):
        open_index(folder)
    (folder / "meta.json").unlink()
    with pytest.raises(InputError, match="holds no finished index; make one with: pubmedbert explore index"):
        open_index(folder)


def test_damaged_progress_is_refused(large_vocabulary: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    real, done = indexing._vectors, iter(range(1))

    def die(*arguments: Any) -> Any:
        if next(done, None) is None:
            raise Killed
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexing, "_vectors", die)
        with pytest.raises(Killed):
            make_index(FakeCorpus(), large_vocabulary, out)
    with pytest.raises(InputError, match="holds an index made with another layer"):
        make_index(FakeCorpus(), large_vocabulary, out, layer=1)
    (out / "words.bin").unlink()
    with pytest.raises(InputError, match=r"its files are shorter than progress\.json says; delete it and begin anew"):
        make_index(FakeCorpus(), large_vocabulary, out)


def test_a_model_that_computes_no_numbers(tmp_path: Path, large_vocabulary: Path) -> None:
    folder = Path(shutil.copytree(large_vocabulary, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    name = "bert.embeddings.word_embeddings.weight"
    save_file(weights | {name: weights[name] * np.float32("nan")}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="its weights are damaged"):
        make_index(FakeCorpus(5), folder, tmp_path / "index")
    with pytest.raises(InputError, match="its weights are damaged"):
        ExploredModel(folder).view("a cell")


def test_the_command(
    large_vocabulary: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    refused: Refused,
) -> None:
    records = [
        {"pmid": number, "title": "A title.", "abstract": f"Imatinib inhibits kinase {number} in {'many ' * 9}cells."}
        for number in range(1, 4)
    ]
    source = write_records(tmp_path / "some.jsonl", *records)
    main(["corpus", "add", str(source), "--store", str(tmp_path / "store")])
    main(["corpus", "screen", "--store", str(tmp_path / "store"), "--min-words", "1"])
    options = ["--store", str(tmp_path / "store"), "--model", str(large_vocabulary), "--out", str(tmp_path / "index")]
    capsys.readouterr()
    main(["explore", "index", *options])
    printed = capsys.readouterr().out
    assert "words of 3 documents" in printed
    assert int(printed.split(" bytes for each byte")[0].split()[-1]) < 217
    assert open_index(tmp_path / "index").documents == ["1", "2", "3"]
    main(["explore", "index", *options])
    assert "is up to date: nothing to do" in capsys.readouterr().err
    assert "made with another kind" in refused("explore", "index", *options, "--of", "heads")
    assert "--layer must be from 1 to 2" in refused("explore", "index", *options, "--layer", "9")
