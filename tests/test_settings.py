"""Settings: TOML and overrides in, one sentence for what is wrong."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.errors import InputError
from pubmedbert.settings import Settings, overrides, read_toml


@dataclass(frozen=True, kw_only=True)
class Some(Settings):
    name: str = "a"
    count: int = 1
    share: float = 0.5
    wanted: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._within("count", 0, 10)
        self._within("share", 0, 1)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(text: str) -> None:
    assert tomllib.loads(Some(name=text).toml())["name"] == text


def test_round_trip(tmp_path: Path) -> None:
    some = Some(name="b c", count=3, share=0.25, wanted=True)
    path = tmp_path / "some.toml"
    path.write_text(some.toml())
    assert Some.made(read_toml(path), "some.toml") == some
    assert Some.made(overrides(["name=b c", "count = 3", "share=.25", "wanted=true"][:2]), "x").name == "b c"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("count=11", "count must be from 0 to 10, not 11"),
        ("count=1.0", "count must be a whole number"),
        (f"count={'9' * 400}", "count must be from 0 to 10"),
        (f"share={'9' * 400}", "share must be a number"),
        ("share=nan", "share must be from 0 to 1"),
        ("wanted=1", "wanted must be true or false"),
        ("name=3", "name must be text"),
        ("other=3", "unknown setting 'other'; there are count, name, share, wanted"),
        ("count", "--set takes key=value"),
    ],
)
def test_bad_values(given: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Some.made(overrides([given]), "test")


@pytest.mark.parametrize("content", [b"a = ", b"\xff", b"a=" + b"[" * 5000])
def test_files_that_are_no_toml(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.toml is not TOML"):
        read_toml(tmp_path / "a.toml")
    with pytest.raises(InputError, match="cannot read"):
        read_toml(tmp_path / "none.toml")
