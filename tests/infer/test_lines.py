"""Lines are numbered, and bad ones named."""

from __future__ import annotations

import io
import os

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


@given(st.lists(st.text("ab\n", max_size=5)), st.integers(1, 4))
def test_blocks_are_the_same_lines(texts: list[str], most: int) -> None:
    data = "\n".join(texts).encode()
    found = list(lines.blocks(io.BytesIO(data), "texts.txt", most))
    assert [line for block in found for line in block] == list(lines.numbered(io.BytesIO(data), "texts.txt"))
    assert {len(block) for block in found[:-1]} <= {most}


def test_a_pipe_is_read_as_it_comes() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream:
        blocks = lines.blocks(stream, "standard input", 3)
        os.write(writing, b"a\n")
        assert next(blocks) == [(1, "a")]
        os.write(writing, b"b\n\nc")
        assert next(blocks) == [(2, "b"), (3, "")]  # the next line has only begun
        os.write(writing, b"c\nd\ne\nf\ng")
        assert next(blocks) == [(4, "cc"), (5, "d"), (6, "e")]
        assert next(blocks) == [(7, "f")]
        os.close(writing)
        assert list(blocks) == [[(8, "g")]]


def test_lines_before_a_bad_one_come_first() -> None:
    blocks = lines.blocks(io.BytesIO(b"a\nb\n\xff\nc"), "texts.txt", 9)
    assert next(blocks) == [(1, "a"), (2, "b")]
    with pytest.raises(InputError, match=r"texts.txt, line 3: byte 1 is not UTF-8"):
        next(blocks)


def test_a_line_too_long_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_LONGEST", 1 << 20)
    blocks = lines.blocks(io.BytesIO(b"a\n" + b"b" * (1 << 20)), "texts.txt", 9)
    assert next(blocks) == [(1, "a")]
    with pytest.raises(InputError, match=r"texts.txt, line 2: it is longer than 1 MB"):
        next(blocks)
