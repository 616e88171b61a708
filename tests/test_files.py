"""Files appear whole or not at all, whatever happens in between."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pubmedbert.errors import InputError
from pubmedbert.files import (
    atomic_file,
    atomic_folder,
    gone,
    is_utf8,
    locked,
    read_json,
    sha256,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert names(target.parent) == ["file.txt"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with atomic_folder(target) as temporary:
        (temporary / "one").write_text("1")
    with pytest.raises(RuntimeError), atomic_folder(target) as temporary:
        (temporary / "two").write_text("2")
        raise RuntimeError
    assert names(target) == ["one"]
    with atomic_folder(target) as temporary:
        (temporary / "two").write_text("2")
    assert names(target) == ["two"]
    assert names(tmp_path) == ["folder"]


def test_a_link_leads_to_the_folder_that_is_made(tmp_path: Path) -> None:
    (tmp_path / "large_disk").mkdir()
    for name in ("made", "new"):
        link = tmp_path / name
        link.symlink_to(tmp_path / "large_disk" / name)
        if name == "made":
            link.resolve().mkdir()
        with atomic_folder(link) as temporary:
            assert temporary.parent == tmp_path / "large_disk"
            (temporary / "one").write_text("1")
        assert link.is_symlink()
        assert names(link) == ["one"]
    assert names(tmp_path / "large_disk") == ["made", "new"]
    assert names(tmp_path) == ["large_disk", "made", "new"]


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with pytest.raises(InputError, match="leads to itself"), atomic_folder(tmp_path / "round"):
        raise AssertionError


def test_a_drive_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drive").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "drive")
    with pytest.raises(InputError, match="drive of its own"), atomic_folder(tmp_path / "drive"):
        raise AssertionError
    with atomic_folder(tmp_path / "drive" / "folder") as temporary:
        (temporary / "one").write_text("1")
    assert names(tmp_path / "drive") == ["folder"]


def test_the_folder_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with atomic_folder(Path()) as folder:
        (folder / "a").write_text("x")
    assert (tmp_path / "here" / "a").read_text() == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from pubmedbert.files import atomic_file, atomic_folder\n"
        "with atomic_file(Path(sys.argv[1]) / 'file') as file, atomic_folder(Path(sys.argv[1]) / 'folder') as folder:\n"
        "    file.write_text('half'); (folder / 'one').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    assert len(names(tmp_path)) == 2
    assert all(name.startswith(".") for name in names(tmp_path))
    write_text(tmp_path / "file", "whole")
    with atomic_folder(tmp_path / "folder"):
        pass
    assert names(tmp_path) == ["file", "folder"]


def test_a_folder_set_aside_by_a_killed_process_comes_back(tmp_path: Path) -> None:
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    aside = tmp_path / f".folder.{finished.pid}.old"
    aside.mkdir()
    (aside / "precious").write_text("1")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "folder"):
        raise RuntimeError
    assert names(tmp_path / "folder") == ["precious"]


def test_files_of_living_processes_stay(tmp_path: Path) -> None:
    other = tmp_path / f".file.{os.getppid()}.tmp"
    other.write_text("theirs")
    write_text(tmp_path / "file", "ours")
    assert names(tmp_path) == [other.name, "file"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"cannot write .*file: No space left on device"),
        atomic_file(tmp_path / "file") as temporary,
    ):
        temporary.write_text("half")
        with open("/dev/full", "w") as full:  # noqa: PTH123
            full.write("x")
    assert names(tmp_path) == []


def test_json_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(InputError, match=r"cannot read .*a\.json: No such file"):
        read_json(path)
    path.write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        read_json(path)
    path.write_text("[1]")
    with pytest.raises(InputError, match="must hold a JSON object, not list"):
        read_json(path)
    write_json(path, {"µ": 1})
    assert read_json(path) == {"µ": 1}
    with pytest.raises(InputError, match="cannot read"):
        sha256(tmp_path / "nothing")


def test_a_folder_made_for_bad_input_goes_with_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bad"), locked(tmp_path / "a" / "b", busy="busy"):
        raise InputError("bad")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="bad"), locked(tmp_path / "a" / "b", busy="busy"):
        (tmp_path / "a" / "c").touch()
        raise InputError("bad")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["c"]
    with pytest.raises(InputError, match="bad"), locked(tmp_path / "a", busy="busy"):
        (tmp_path / "a" / "c").unlink()
        raise InputError("bad")
    assert (tmp_path / "a").is_dir(), "it was there before"


def test_a_drive_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = errno.ENOSYS

    def refuses(*_: object) -> None:
        raise OSError(code, "not here")

    monkeypatch.setattr(fcntl, "flock", refuses)
    with locked(tmp_path / "a", busy="busy"):
        pass
    said = f"warning: the drive of {tmp_path / 'a'} has no locks (not here): see to it that nobody else writes there"
    assert capsys.readouterr().err == said + "\n"
    code = errno.EACCES
    with pytest.raises(InputError, match="cannot be locked: not here"), locked(tmp_path / "a"):
        pass


def test_names_with_a_number_that_no_process_has(tmp_path: Path) -> None:
    for number in ("9" * 30, "²"):  # the second is no number to Python either: such a file is not ours
        (tmp_path / f".file.txt.{number}.tmp").write_text("half")
    write_text(tmp_path / "file.txt", "whole")
    assert names(tmp_path) == [".file.txt.².tmp", "file.txt"]
    assert gone(10**30)


def test_text_that_is_not_utf_8() -> None:
    assert is_utf8("ü")
    assert not is_utf8(Path(os.fsdecode(b"\xff")))
