"""`pubmedbert serve` as it begins."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from tests.serve.conftest import serving
from tests.serve.test_faults import until

SERVE = [sys.executable, "-c", "from pubmedbert.cli import main; main()", "serve"]


def test_a_model_that_cannot_be_served_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for options, sentence in (
        (["--model", "nobody"], "no model 'nobody'"),
        (["--model", "bundeld"], "did you mean bundled?"),
        (["--model", str(tmp_path / "empty")], "config.json"),
        (["--queue", "0"], "the limit queue must be above 0"),
        (["--timeout", "inf"], "the limit seconds must be above 0, and finite"),
        (["--host", "127.0.0..1"], "cannot listen at 127.0.0..1"),
        (["--allow-origin", "http://[::1"], "write an origin as browsers send it"),
    ):
        run = subprocess.run([*SERVE, "--port", "0", *options], capture_output=True, text=True, timeout=60)
        assert run.returncode == 2, run.stderr
        assert run.stderr.startswith("error: ")
        assert run.stderr.count("\n") == 1
        assert sentence in run.stderr


def test_an_index_that_cannot_be_searched_is_one_sentence(
    folders: dict[str, Path], index: Path, tmp_path: Path
) -> None:
    twin, damaged = (Path(shutil.copytree(index, tmp_path / name)) for name in ("twin", "damaged"))
    (damaged / "words.bin").write_bytes(b"")
    mask, other = (("--model", str(folders[name])) for name in ("mask", "tags"))
    for options, sentence in (
        ([*other, "--index", index], f"--index {index} was made with none of the models that are served"),
        ([*mask, "--index", index, "--index", twin], f"--index {twin} were made with the same model; name one"),
        ([*mask, "--index", damaged], "words.bin has another size"),
        ([*mask, "--index", tmp_path], "holds no finished index; make one with: pubmedbert explore index"),
        ([*mask, "--index", index, "--tagger", folders["single"]], "classifies texts and does not tag words"),
        ([*mask, "--index", index, "--tagger", "nobody"], "no model 'nobody'"),
        ([*mask, "--tagger", folders["tags"]], "--tagger is for what the explorer finds in a corpus"),
    ):
        command = [*SERVE, "--port", "0", *map(str, options)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert run.returncode == 2, run.stderr
        assert run.stderr.startswith("error: ")
        assert run.stderr.count("\n") == 1
        assert sentence in run.stderr


def test_long_addresses_may_come_in_pieces(one: Callable[..., Any]) -> None:
    """The explorer's hold the sentence, and a network sends them in packets."""
    with one() as service:
        parts = urlsplit(service.url)
        address = f"/explore/state?model=mask&sentence={'%E2%89%A4' * 5000}"
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
            request = f"GET {address} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode()
            for start in range(0, len(request), 1448):
                connection.sendall(request[start : start + 1448])
                time.sleep(0.001)
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert "≤".encode() in answer or b"\\u2264" in answer


def started(front: psutil.Process) -> psutil.Process:
    """The first process of a model, as soon as it is there."""
    until(lambda: any("pubmedbert.serve.worker" in one.cmdline() for one in front.children()), 120)
    return front.children()[0]


def test_a_signal_ends_what_still_loads(folders: dict[str, Path]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        command = [*SERVE, "--port", "0", "--model", str(folders["mask"])]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        front = psutil.Process(process.pid)
        worker = started(front)
        worker.suspend()  # it will not be ready
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert not worker.is_running()
        assert [json.loads(line)["message"] for line in said.splitlines()] == ["ended"]


def test_a_process_whose_front_has_gone_ends_quietly(folders: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "pubmedbert.serve.worker", json.dumps({"model": str(folders["mask"])}), "0"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    assert process.stderr.read() == ""
    assert process.wait(60) == 0
    process.communicate()


def test_an_address_of_its_own_machine_is_its_name(one: Callable[..., Any]) -> None:
    with one("--host", "127.2") as service:
        assert service.url.startswith("http://127.0.0.2:")
        assert httpx.get(f"{service.url}/models").status_code == 200


def test_other_addresses_are_warned_about(one: Callable[..., Any]) -> None:
    with one("--host", "0.0.0.0") as service:
        assert any("asks for no key" in line["message"] for line in service.log)
    with one("--host", "0.0.0.0", key="abc") as service:
        assert not any("asks for no key" in line["message"] for line in service.log)
        url = service.url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.post(url, json={"inputs": "[MASK]"}).status_code == 401
        headers = {"Authorization": "Bearer abc"}
        assert httpx.post(url, json={"inputs": "[MASK]"}, headers=headers).status_code == 200


def test_int8_of_a_tuned_model_is_said_to_be_fp32(folders: dict[str, Path]) -> None:
    with serving("--model", folders["tags"], "--precision", "int8") as service:
        (line,) = [line for line in service.log if line.get("level") == "warning"]
        assert line["message"] == "int8 is for models that fill masks; this one is computed in fp32"
        assert line["model"] == "tags"
        assert httpx.get(f"{service.url}/models").json()[0]["engine"] == "onnx fp32"


def test_the_service_runs_without_torch(folders: dict[str, Path]) -> None:
    """In the process that computes, too."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pubmedbert.serve.process import Loading; from pubmedbert.serve.tasks import answer_all, load\n"
        "for folder in sys.argv[1:]:\n"
        "    loaded = load(Loading(model=folder))\n"
        "    job = {'task': loaded.about['tasks'][0], 'text': 'a [MASK]', 'pair': None, 'parameters': {}}\n"
        "    assert answer_all(loaded, [job | {'alone': False, 'seconds': 30}])[0][0] == b'\\x00'\n"
        "import pubmedbert.serve.server, pubmedbert.serve.command\n"
    )
    words = [sys.executable, "-c", code, *(str(folders[name]) for name in ("mask", "tags", "single", "encoder"))]
    subprocess.run(words, check=True, timeout=120, env={**os.environ})
