"""The cache: made once, all at once, by one of several processes; and without a place for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pubmedbert.errors import InputError
from pubmedbert.files import sha256
from pubmedbert.infer import cache
from pubmedbert.infer.cache import cached


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PUBMEDBERT_CACHE", str(tmp_path / "cache"))
    cache._temporary_root.cache_clear()
    yield tmp_path / "cache"
    cache._temporary_root.cache_clear()


def test_what_cannot_be_read_is_not_blamed_on_the_cache(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tries: list[Path] = []

    def make(folder: Path) -> None:
        tries.append(folder)
        sha256(tmp_path / "nothing")

    with pytest.raises(InputError, match="cannot read"):
        cached("a", make)
    assert len(tries) == 1
    assert "cache cannot be written" not in capsys.readouterr().err


def test_what_is_not_intact_is_made_anew(root: Path) -> None:
    def whole(folder: Path) -> bool:
        return (folder / "file").exists()

    made: list[str] = []
    (root / "a").mkdir(parents=True)
    for _ in range(2):
        assert (cached("a", write("whole", made), whole) / "file").read_text() == "whole"
    assert made == ["whole"]


def write(text: str, made: list[str] | None = None) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "file").write_text(text)
        if made is not None:
            made.append(text)

    return make


def test_made_once(root: Path) -> None:
    made: list[str] = []
    assert cached("a-1", write("first", made)) == root / "a-1"
    assert (cached("a-1", write("second", made)) / "file").read_text() == "first"
    assert cached("b.2", write("other", made)) == root / "b.2"
    assert made == ["first", "other"]


def test_the_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PUBMEDBERT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cached("a", write("x")) == tmp_path / ".cache" / "pubmedbert" / "a"


def test_nothing_half_made_stays(root: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "file").write_text("half")
        raise InputError("the model is not fit for it")

    with pytest.raises(InputError, match="not fit"):
        cached("a", fail)
    assert {path.name for path in root.iterdir()} == {"locks"}
    assert (cached("a", write("whole")) / "file").read_text() == "whole"


@pytest.mark.parametrize("key", ["", ".", "..", "../a", "a/b", ".hidden", "a b", "ä", "x" * 300])
def test_keys_that_could_be_paths(key: str) -> None:
    with pytest.raises(ValueError, match="is no key"):
        cached(key, write("x"))


def test_a_cache_that_cannot_be_written(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root.write_text("a file in the way")
    made: list[str] = []
    folder = cached("a", write("x", made))
    assert cached("a", write("y", made)) == folder
    assert cached("b", write("z", made)).parent == folder.parent
    assert made == ["x", "z"]
    assert capsys.readouterr().err.count("the cache cannot be written") == 1


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("PUBMEDBERT_CACHE")

    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert (cached("a", write("x")) / "file").read_text() == "x"
    assert "cannot be written" in capsys.readouterr().err


def test_a_temporary_cache_goes_with_its_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code = (
        "from pubmedbert.infer.cache import cached\n"
        "print(cached('a', lambda folder: (folder / 'file').write_text('x') and None))"
    )
    environment = os.environ | {"PUBMEDBERT_CACHE": str(tmp_path / "file"), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert str(tmp_path) in done.stdout
    assert not Path(done.stdout.strip()).exists()
    assert not list(tmp_path.glob("pubmedbert-*"))


def test_two_processes_make_it_once(root: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom pubmedbert.infer.cache import cached\n"
        "def make(folder):\n"
        "    with open(sys.argv[1], 'a') as log: log.write('made\\n')\n"
        "    time.sleep(0.5)\n"
        "    (folder / 'file').write_text('x')\n"
        "print((cached('a', make) / 'file').read_text())"
    )
    log = tmp_path / "log"
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(log)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [process.communicate(timeout=60)[0] for process in running] == ["x\n"] * 3
    assert log.read_text() == "made\n"
