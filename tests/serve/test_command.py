"""`pubmedbert serve` as it begins."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

SERVE = [sys.executable, "-c", "from pubmedbert.cli import main; main()", "serve"]


def test_a_model_that_cannot_be_served_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for options, sentence in (
        (["--model", "nobody"], "no model 'nobody'"),
        (["--model", str(tmp_path / "empty")], "config.json"),
        (["--queue", "0"], "the limit queue must be above 0"),
    ):
        run = subprocess.run([*SERVE, "--port", "0", *options], capture_output=True, text=True, timeout=60)
        assert run.returncode == 2, run.stderr
        assert run.stderr.startswith("error: ")
        assert run.stderr.count("\n") == 1
        assert sentence in run.stderr


def test_other_addresses_are_warned_about(one: Callable[..., Any]) -> None:
    with one("--host", "0.0.0.0") as service:
        assert any("asks for no key" in line["message"] for line in service.log)
    with one("--host", "0.0.0.0", key="abc") as service:
        assert not any("asks for no key" in line["message"] for line in service.log)
        url = service.url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.post(url, json={"inputs": "[MASK]"}).status_code == 401
        headers = {"Authorization": "Bearer abc"}
        assert httpx.post(url, json={"inputs": "[MASK]"}, headers=headers).status_code == 200


def test_the_service_runs_without_torch(folders: dict[str, Path]) -> None:
    """In the process that computes, too."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pubmedbert.serve.process import Loading; from pubmedbert.serve.tasks import answer_all, load\n"
        "for folder in sys.argv[1:]:\n"
        "    loaded = load(Loading(model=folder))\n"
        "    job = {'task': loaded.about['tasks'][0], 'text': 'a [MASK]', 'pair': None, 'parameters': {}}\n"
        "    assert answer_all(loaded.tasks, [job | {'alone': False}])[0][0] == b'\\x00'\n"
        "import pubmedbert.serve.server, pubmedbert.serve.command\n"
    )
    words = [sys.executable, "-c", code, *(str(folders[name]) for name in ("mask", "tags", "single", "encoder"))]
    subprocess.run(words, check=True, timeout=120, env={**os.environ})
