"""Lines are numbered, and bad ones named."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.errors import InputError
from pubmedbert.infer import lines


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\ufeff"))))
def test_lines_and_numbers(texts: list[str]) -> None:
    stream = io.BytesIO(b"".join(f"{text}\r\n".encode() for text in texts))
    assert list(lines.numbered(stream, "texts.txt")) == list(enumerate(texts, start=1))


def test_a_byte_order_mark_and_a_last_line_without_end() -> None:
    assert list(lines.numbered(io.BytesIO(b"\xef\xbb\xbfa\n\nb"), "texts.txt")) == [(1, "a"), (2, ""), (3, "b")]


def test_a_line_that_is_not_text(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"texts.txt, line 2: byte 3 is not UTF-8"):
        list(lines.numbered(io.BytesIO(b"a\nbc\xff\n"), "texts.txt"))
    monkeypatch.setattr(lines, "_LONGEST", 1 << 20)
    with pytest.raises(InputError, match=r"texts.txt, line 2: it is longer than 1 MB"):
        list(lines.numbered(io.BytesIO(b"a\n" + b"b" * (1 << 20)), "texts.txt"))
