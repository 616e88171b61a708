"""How memory is kept, with allocators of both kinds."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from pubmedbert.model.runtime import prepare_torch


@pytest.mark.parametrize(("takes", "asked"), [(1, [(-3, 1 << 30), (-1, -1)]), (0, [(-3, 1 << 30), (-4, 0), (-1, -1)])])
def test_large_tensors_come_from_the_heap(
    takes: int, asked: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    class Allocator:
        def mallopt(self, what: int, value: int) -> int:
            calls.append((what, value))
            return takes if what == -3 else 1

    def loaded(_: Any) -> Allocator:
        return Allocator()

    monkeypatch.setattr(ctypes, "CDLL", loaded)
    prepare_torch()
    assert calls == asked
