"""Every command and program in docs/serving.md is run, against a service that the page itself starts."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pubmedbert.explore.index import make_index
from pubmedbert.model.locate import BUNDLED
from tests.explore.conftest import FakeCorpus
from tests.serve.conftest import Service, serving
from tests.serve.test_page import CHROMIUM, FLAGS

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def commands(program: str) -> list[str]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if program in line.split()]


@pytest.fixture(scope="module")
def world(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the fine-tuned model and the index that the page names."""
    place = tmp_path_factory.mktemp("world")
    shutil.copytree(folders["tags"], place / "runs" / "ncbi" / "seed-0")
    make_index(FakeCorpus(5), BUNDLED, place / "index")
    return place


@pytest.fixture(scope="module")
def documented(world: Path) -> Iterator[Service]:
    """The service of the page's second command."""
    with serving(*shlex.split(commands("pubmedbert")[1])[2:], cwd=world) as running:
        yield running


@pytest.mark.parametrize("command", [*commands("pubmedbert")[:1], *commands("pubmedbert")[2:]])
def test_services_start(command: str, world: Path) -> None:
    *variables, program, verb = shlex.split(command.split("serve")[0] + "serve")
    assert (program, verb) == ("pubmedbert", "serve")
    key = dict(variable.split("=") for variable in variables).get("PUBMEDBERT_API_KEY")
    options = shlex.split(command.split("serve", 1)[1])
    if "--port" in options:
        options[options.index("--port") + 1] = "0"
    with serving(*options, key=key, cwd=world):
        pass


@pytest.mark.parametrize("command", commands("curl"))
def test_curl(command: str, documented: Service) -> None:
    words = shlex.split(command.replace(ADDRESS, documented.url))
    run = subprocess.run([*words, "--silent", "--fail"], capture_output=True, check=True)
    assert run.stdout.startswith((b"[{", b'{"status":"ready"', b'{"answer": "'))


@pytest.mark.parametrize("program", blocks("python"))
def test_python(program: str, documented: Service) -> None:
    code = program.replace(ADDRESS, documented.url)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")
@pytest.mark.parametrize("program", blocks("js"))
def test_javascript(program: str, documented: Service) -> None:
    from playwright.sync_api import sync_playwright

    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.goto(documented.url)
        page.evaluate(f"async () => {{ {program.replace(ADDRESS, documented.url)} }}")
        browser.close()
    assert re.fullmatch(r"\S+ 0\.\d+", said[0])
