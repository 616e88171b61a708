"""Ranks that find each other over a store in which dead ones left their words."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed import HashStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import Store

from pubmedbert.errors import InputError
from pubmedbert.pretrain.meeting import agree


def meet(store: Store, delays: list[float]) -> list[str]:
    """The name that each rank finds, coming so many seconds late."""

    def come(rank: int) -> str:
        time.sleep(delays[rank])
        return agree(store, rank, len(delays), patience=20)

    with ThreadPoolExecutor(len(delays)) as pool:
        return list(pool.map(come, range(len(delays))))


@settings(max_examples=8)
@given(st.lists(st.lists(st.sampled_from([0.0, 0.06, 0.15]), min_size=3, max_size=3), min_size=1, max_size=3))
def test_every_attempt_over_one_store_has_a_name_of_its_own(attempts: list[list[float]]) -> None:
    store = HashStore()
    names = [meet(store, delays) for delays in attempts]
    assert all(len(set(found)) == 1 for found in names)
    assert len({found[0] for found in names}) == len(attempts)


def test_what_dead_ranks_left_is_not_taken_for_the_living() -> None:
    store = HashStore()
    store.set("word/0", "dead")
    store.set("word/1", "dead too")
    store.set("offer", json.dumps({"name": "old", "words": ["dead", "dead too"]}))
    store.set("old/0", "here")
    store.set("old/1", "here")
    first, second = meet(store, [0.0, 0.3])
    assert first == second != "old"


def test_a_rank_that_died_alone_comes_again() -> None:
    store = HashStore()
    with pytest.raises(InputError):
        agree(store, 1, 3, patience=0.2)  # it put down a word, and died
    assert len(set(meet(store, [0.0, 0.2, 0.1]))) == 1


def test_ranks_that_do_not_come_are_named() -> None:
    store = HashStore()
    store.set("word/1", "slow")
    with pytest.raises(InputError, match=r"after 0 s not all of 3 ranks have come; missing: 2"):
        agree(store, 0, 3, patience=0.2)
    store.set("word/2", "slow")
    with pytest.raises(InputError, match=r"not all of 3 ranks have come; missing: 1, 2"):
        agree(store, 0, 3, patience=0.2)
