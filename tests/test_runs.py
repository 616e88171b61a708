"""The folder of a run, read by other stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from pubmedbert.errors import InputError
from pubmedbert.runs import config


@pytest.mark.parametrize("text", [b"size = ", b"\xff", b"x = " + b"[" * 5000 + b"]" * 5000, b"steps = " + b"1" * 5000])
def test_a_damaged_configuration_is_one_sentence(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "config.toml").write_bytes(text)
    with pytest.raises(InputError, match=r"config\.toml is damaged"):
        config(tmp_path)
