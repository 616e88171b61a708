"""Models by name: against a hub that runs in the test, and against its cache."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pubmedbert.model import locate as module
from pubmedbert.model.checkpoint import read_config
from pubmedbert.model.config import ModelError
from pubmedbert.model.locate import locate

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BASE = "BiomedNLP-BiomedBERT-base-uncased-abstract"
PICKLED = {"config.json": b"{}", "pytorch_model.bin": b"pickle", "vocab.txt": b"[PAD]\n", "flax_model.msgpack": b"flax"}
SAFE = PICKLED | {
    "model.safetensors": b"safe",
    "onnx/model.onnx": b"onnx",
    "onnx/config.json": b"{}",
    "int8.json": b"{}",
}
MODELS = {
    f"microsoft/{BASE}": PICKLED,
    "someone/safe": SAFE,
    "someone/readme": {**PICKLED, "README.md": b"read me"},
    "someone/flax": {"config.json": b"{}", "flax_model.msgpack": b"flax"},
    "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract": {},  # the real hub forwards; here it must not be asked
}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as snapshot_download asks for."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/").removeprefix("api/models/")
        model, rest = "/".join(path.split("/")[:2]), path.split("/")[2:]
        files = MODELS.get(model)
        if model == "someone/gated":
            self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif model == "someone/broken":
            self.answer(400, b"{}")
        elif files is None:
            self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif rest[:1] == ["tree"]:
            tree = [{"type": "file", "path": name, "size": len(data), "oid": oid(data)} for name, data in files.items()]
            self.answer(200, json.dumps(tree).encode())
        elif rest[:1] == ["resolve"]:
            data = files["/".join(rest[2:])]
            self.answer(200, data, {"ETag": f'"{oid(data)}"', "X-Repo-Commit": COMMIT})
        elif rest[:1] == ["revision"] and rest[1] not in ("main", "v1"):
            self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            self.answer(200, json.dumps({"id": model, "sha": COMMIT, "siblings": []}).encode())

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def ask(name: str, home: Path, endpoint: str, **environment: str) -> str:
    """What `locate` returns or its sentence; in a process of its own, as huggingface_hub reads the environment once."""
    code = (
        "import sys\n"
        "from pubmedbert.model.config import ModelError\n"
        "from pubmedbert.model.locate import locate\n"
        "try:\n    print(locate(sys.argv[1]))\n"
        "except ModelError as error:\n    print(f'ModelError: {error}')\n"
    )
    settings = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-c", code, name],
        env=os.environ | settings | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.count("\n") == 1, done.stdout
    return done.stdout.strip()


def names(folder: str) -> set[str]:
    return {path.name for path in Path(folder).rglob("*")}


def test_a_hub_model_is_fetched_once_and_found_without_network(hub: str, tmp_path: Path) -> None:
    folder = ask(f"microsoft/{BASE}", tmp_path, hub)
    assert names(folder) == {"config.json", "pytorch_model.bin", "vocab.txt"}
    assert (Path(folder) / "vocab.txt").read_bytes() == b"[PAD]\n"
    nowhere = "http://127.0.0.1:9"
    for name in (
        f"microsoft/{BASE}",
        "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract",
        f"microsoft/{BASE}@{COMMIT}",
    ):
        assert ask(name, tmp_path, nowhere, HF_HUB_OFFLINE="1") == folder
    assert ask(f"microsoft/{BASE}", tmp_path, nowhere) == folder


def test_a_cached_model_needs_no_readme(hub: str, tmp_path: Path) -> None:
    folder = ask("someone/readme", tmp_path, hub)
    (Path(folder) / "README.md").unlink()
    nowhere = "http://127.0.0.1:9"
    assert ask("someone/readme", tmp_path, nowhere, HF_HUB_OFFLINE="1") == folder
    assert ask("someone/readme", tmp_path, nowhere) == folder
    (Path(folder) / "vocab.txt").unlink()
    assert "is not in the cache" in ask("someone/readme", tmp_path, nowhere, HF_HUB_OFFLINE="1")


def test_a_pickle_is_not_fetched_where_there_is_better(hub: str, tmp_path: Path) -> None:
    folder = ask("someone/safe@v1", tmp_path, hub)
    assert names(folder) == {"config.json", "model.safetensors", "vocab.txt", "int8.json"}


def test_a_cache_from_before_the_renaming_serves_offline(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--microsoft--BiomedNLP-PubMedBERT-base-uncased-abstract"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "pytorch_model.bin").write_bytes(b"pickle")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    name = "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract"
    assert ask(name, tmp_path, "http://127.0.0.1:9", HF_HUB_OFFLINE="1") == str(snapshot)


def test_what_the_hub_refuses(hub: str, tmp_path: Path) -> None:
    for name, sentence in (
        ("someone/nothing", f"no model 'someone/nothing': there is no such folder here, and {hub} knows no such id"),
        ("someone/safe@v9", f"someone/safe has no revision 'v9' on {hub}"),
        ("someone/gated", "someone/gated asks for its terms to be accepted first"),
        ("someone/flax", "someone/flax holds neither model.safetensors nor pytorch_model.bin"),
        ("someone/a--b", "someone/a--b is not a hub id"),
        ("someone/broken", "someone/broken is not in the cache"),
    ):
        assert ask(name, tmp_path, hub).startswith(f"ModelError: {sentence}"), name


def test_no_network_and_not_cached(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    home = f"ModelError: someone/safe is not in the cache {tmp_path / 'hub'}, and"
    assert ask("someone/safe", tmp_path, nowhere) == f"{home} {nowhere} cannot be reached"
    assert ask("someone/safe", tmp_path, nowhere, HF_HUB_OFFLINE="1") == f"{home} HF_HUB_OFFLINE is set"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("PubMedBERT-base-uncased-abstract", "BiomedBERT-base-uncased-abstract"),
        ("PubMedBERT-base-uncased-abstract-fulltext", "BiomedBERT-base-uncased-abstract-fulltext"),
        ("PubMedBERT-large-uncased-abstract", "BiomedBERT-large-uncased-abstract"),
        ("PubMedELECTRA-base-uncased-abstract", "BiomedELECTRA-base-uncased-abstract"),
        ("PubMedELECTRA-large-uncased-abstract", "BiomedELECTRA-large-uncased-abstract"),
        ("BiomedBERT-base-uncased-abstract", "BiomedBERT-base-uncased-abstract"),
    ],
)
def test_names_from_before_the_renaming(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(repository: str, revision: str | None) -> Path:
        asked.append(f"{repository}@{revision}")
        return Path()

    monkeypatch.setattr(module, "_fetch", fetch)
    locate(f"microsoft/BiomedNLP-{old}@main")
    assert asked == [f"microsoft/BiomedNLP-{new}@main"]


def test_a_local_folder_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "someone" / "safe").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate("someone/safe") == Path("someone/safe")
    assert locate(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    "name", ["", "nothing", "./no/folder", "/no/such/folder", "a/b/c", "../up", "no model", "a/b@"]
)
def test_names_that_are_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="there is no such folder, and hub ids look like"):
        locate(name)


def test_runs_are_no_models_and_are_known(tmp_path: Path) -> None:
    (tmp_path / "pretrained" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ModelError, match="a run of 'pubmedbert pretrain'; make a model of it with 'pubmedbert export"):
        read_config(tmp_path / "pretrained")
    (tmp_path / "tuned" / "seed-0").mkdir(parents=True)
    (tmp_path / "tuned" / "seed-0" / "config.json").touch()
    with pytest.raises(ModelError, match=r"a run of 'pubmedbert finetune'; take one of its models, such as .*seed-0"):
        read_config(tmp_path / "tuned")


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match="is a file"):
        locate(str(tmp_path / "model.safetensors"))


def test_the_bundled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUNDLED", tmp_path)
    with pytest.raises(ModelError, match="this build of pubmedbert has no bundled model"):
        locate("bundled")
    (tmp_path / "config.json").touch()
    assert locate("bundled") == tmp_path
