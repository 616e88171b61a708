"""The order in which texts are computed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pubmedbert.serve.batching import Entry, FairQueue, QueueFullError


def run(test: Callable[[], Any]) -> Any:
    async def inside() -> Any:
        return await test()

    return asyncio.run(inside())


def entries(*tokens: int) -> list[Entry]:
    loop = asyncio.get_running_loop()
    return [
        Entry(tokens=count, characters=4 * count, job={"text": str(count)}, answer=loop.create_future(), until=30.0)
        for count in tokens
    ]


@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=8), min_size=1, max_size=8), st.integers(1, 100))
def test_everything_comes_once_within_the_budget(requests: list[list[int]], budget: int) -> None:
    async def test() -> None:
        queue = FairQueue(10_000, 10**9)
        put = [entries(*request) for request in requests]
        for request in put:
            queue.put(request)
        taken: list[Entry] = []
        while len(queue):
            batch = queue.take(budget)
            assert len(batch) == 1 or sum(entry.tokens for entry in batch) <= budget
            assert [entry.tokens for entry in batch] == sorted((entry.tokens for entry in batch), reverse=True)
            taken += batch
        assert sorted(map(id, taken)) == sorted(id(entry) for request in put for entry in request)

    run(test)


def test_a_short_request_overtakes_what_is_left_of_a_long_one() -> None:
    async def test() -> None:
        queue = FairQueue(1000, 10**9)
        queue.put(entries(*[10] * 100))
        queue.take(50)
        (short,) = entries(10)
        queue.put([short])
        assert short in queue.take(50)

    run(test)


def test_nothing_starves() -> None:
    """A stream of new requests takes its share, and leaves the rest to what came before."""

    async def test() -> None:
        queue = FairQueue(1000, 10**9)
        long = entries(*[10] * 20)
        queue.put(long)
        answered = 0
        for number in range(60):
            if number % 2:
                queue.put(entries(10))
            answered += sum(entry in long for entry in queue.take(10))
            if answered == 20:
                break
        assert answered == 20

    run(test)


def test_the_queue_is_bounded_and_takes_all_or_none() -> None:
    async def test() -> None:
        queue = FairQueue(3, 10**9)
        queue.put(entries(1, 1))
        with pytest.raises(QueueFullError):
            queue.put(entries(1, 1))
        assert len(queue) == 2
        empty = FairQueue(3, 10**9)
        empty.put(entries(1, 1, 1, 1))  # alone: otherwise it could never be answered
        assert len(empty) == 4

    run(test)


def test_characters_are_bounded() -> None:
    async def test() -> None:
        queue = FairQueue(100, 50)
        queue.put(entries(100))  # alone
        queue.drop(queue.take(1000))
        queue.put(entries(5))
        assert queue.has_room(1, 30)
        assert not queue.has_room(1, 31)
        with pytest.raises(QueueFullError):
            queue.put(entries(5, 3))
        assert queue.take(1000)
        assert queue.take(1000) == []

    run(test)


def test_dropped_texts_leave_the_queue() -> None:
    async def test() -> None:
        queue = FairQueue(10, 10**9)
        gone, kept = entries(5, 5), entries(7)
        queue.put(gone)
        queue.put(kept)
        queue.drop(gone)
        assert queue.tokens == 7
        assert queue.take(100) == kept

    run(test)


def test_what_a_process_did_not_survive_is_computed_alone() -> None:
    async def test() -> None:
        queue = FairQueue(10, 10**9)
        queue.put(entries(1, 2, 3))
        batch = queue.take(100)
        for entry in batch:
            entry.tries += 1
        queue.put_back(batch)
        queue.put(entries(4))
        sizes = [[entry.tokens for entry in queue.take(100)] for _ in range(4)]
        assert sizes == [[1], [2], [3], [4]]

    run(test)


def test_an_empty_queue_waits() -> None:
    async def test() -> None:
        queue = FairQueue(10, 10**9)
        waiting = asyncio.create_task(queue.filled())
        await asyncio.sleep(0)
        assert not waiting.done()
        put = entries(3)
        queue.put(put)
        await waiting
        assert queue.take(10) == put

    run(test)
