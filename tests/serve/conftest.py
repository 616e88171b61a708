"""Services in processes of their own, with small models of every task."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from pubmedbert.explore.index import make_index
from pubmedbert.model import hf
from tests.explore.conftest import FakeCorpus
from tests.infer.conftest import outspoken
from tests.infer.minilm import MINILM, TOKENIZER_FILES
from tests.infer.tuned_folders import HEADS, tuned_folder


@dataclass
class Service:
    """A running `pubmedbert serve`."""

    process: subprocess.Popen[str]
    url: str = ""
    log: list[dict[str, Any]] = field(default_factory=list)
    """Its lines so far."""

    def post(self, path: str, request: object, **options: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=request, timeout=60, **options)

    def workers(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process(self.process.pid).children()
        return found

    def metric(self, line: str) -> float:
        found = [text for text in httpx.get(f"{self.url}/metrics").text.splitlines() if text.startswith(f"{line} ")]
        return float(found[0].split()[-1]) if found else 0.0


@contextmanager
def serving(*options: object, key: str | None = None, cwd: Path | None = None) -> Iterator[Service]:
    """Run the service, in a folder, until the end of the block, where it must end in order."""
    begin = [sys.executable, "-c", "from pubmedbert.cli import main; main()", "serve"]
    begin += [] if "--port" in options else ["--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "PUBMEDBERT_API_KEY"}
    environment |= {} if key is None else {"PUBMEDBERT_API_KEY": key}
    command = [*begin, *map(str, options)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=cwd)
    service = Service(process)
    ready = threading.Event()

    def follow() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            try:
                service.log.append(json.loads(line))
            except ValueError:
                service.log.append({"message": line})
            if service.log[-1]["message"] == "ready":
                service.url = service.log[-1]["url"]
                ready.set()
        ready.set()

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        assert ready.wait(60)
        assert service.url, service.log
        yield service
    finally:
        for worker in service.workers() if process.poll() is None else []:
            worker.resume()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()
            follower.join(10)
            assert process.stderr is not None
            process.stderr.close()
    assert process.returncode == 0, service.log


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each kind."""
    place = tmp_path_factory.mktemp("served")
    made = {name: tuned_folder(place / name, HEADS[name]) for name in ("tags", "single", "multi", "regression")}
    for name in ("mask", "encoder"):
        (place / name).mkdir()
        hf.save(outspoken(30522), place / name)
        for file in TOKENIZER_FILES:
            shutil.copy(MINILM / file, place / name)
        made[name] = place / name
    config = made["encoder"] / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"architectures": ["BertModel"]}))
    return made


@pytest.fixture(scope="session")
def index(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of a small corpus by the model that fills masks."""
    return make_index(FakeCorpus(30), folders["mask"], tmp_path_factory.mktemp("indexes") / "mask").folder


@pytest.fixture(scope="session")
def service(folders: dict[str, Path], index: Path) -> Iterator[Service]:
    """A service of four models; the first fills masks, and there is an index for it."""
    models = [part for name in ("mask", "tags", "single", "encoder") for part in ("--model", folders[name])]
    with serving(*models, "--index", index, "--tagger", "tags") as running:
        yield running


@pytest.fixture
def one(folders: dict[str, Path]) -> Callable[..., Any]:
    """Start a service of the fill-mask model alone, with options of its own."""
    return lambda *options, **more: serving("--model", folders["mask"], *options, **more)
