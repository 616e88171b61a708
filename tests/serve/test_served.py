"""A served model over processes that end, hang or cannot start again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pubmedbert.errors import InputError
from pubmedbert.serve import frames
from pubmedbert.serve.limits import Limits, RefusalError
from pubmedbert.serve.metrics import Metrics
from pubmedbert.serve.process import Loading, ModelProcess, ProcessEndedError
from pubmedbert.serve.served import ServedModel, Text


class FakeProcess:
    """Answers texts with themselves; "poison" ends it, "hang" keeps it for ever."""

    def __init__(self, folder: Path) -> None:
        self.about = {"folder": str(folder), "tasks": ["fill-mask"], "max_tokens": 64, "pairs": False, "labels": []}
        self.batches: list[list[str]] = []

    async def compute(self, jobs: Sequence[dict[str, Any]]) -> list[frames.Frame]:
        texts = [job["text"] for job in jobs]
        await asyncio.sleep(0.01)
        if any("poison" in text for text in texts):
            raise ProcessEndedError
        if any("hang" in text for text in texts):
            await asyncio.sleep(1000)
        return [(frames.OK, text.encode()) for text in texts]

    async def end(self, seconds: float) -> None:
        """Nothing has to end."""


Test = Callable[[ServedModel], Awaitable[None]]


@pytest.fixture
def run(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[FakeProcess]]:
    """Run a test on a model over fake processes; those that were started are returned."""
    made: list[FakeProcess] = []

    async def start(loading: Loading) -> FakeProcess:
        if loading.model == "gone" and made:
            raise InputError("it has gone")
        made.append(FakeProcess(folders["mask"]))
        return made[-1]

    monkeypatch.setattr(ModelProcess, "start", start)

    def inside(test: Test, model: str = "fake", **limits: Any) -> list[FakeProcess]:
        async def with_model() -> None:
            served = ServedModel("fake", Loading(model=model), Limits(**limits), Metrics())
            async with served.started():
                await test(served)

        asyncio.run(with_model())
        return made

    return inside


def ask(served: ServedModel, *texts: str) -> asyncio.Task[list[bytes]]:
    return asyncio.ensure_future(served.answer("fill-mask", [Text(f"[MASK] {text}") for text in texts], {}))


def test_only_the_cause_of_two_ends_is_refused(run: Callable[..., list[FakeProcess]]) -> None:
    async def test(served: ServedModel) -> None:
        asked = [ask(served, text) for text in ("a", "poison", "b", "c")]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [answers[place] for place in (0, 2, 3)] == [[b"[MASK] a"], [b"[MASK] b"], [b"[MASK] c"]]
        assert isinstance(answers[1], RefusalError)
        assert (answers[1].status, answers[1].retry_after) == (503, 5)
        assert await ask(served, "d") == [b"[MASK] d"]

    assert len(run(test)) == 3


def test_a_process_that_hangs_is_replaced(run: Callable[..., list[FakeProcess]]) -> None:
    async def test(served: ServedModel) -> None:
        slow, fast = ask(served, "hang"), ask(served, "a")
        assert await fast == [b"[MASK] a"]
        with pytest.raises(RefusalError, match="ended while it computed"):
            await slow

    assert len(run(test, stuck_seconds=0.1)) >= 2


def test_a_model_that_cannot_start_again_refuses_in_time(run: Callable[..., list[FakeProcess]]) -> None:
    async def test(served: ServedModel) -> None:
        with pytest.raises(RefusalError, match="no answer within"):
            await ask(served, "poison")
        assert not served.ready

    run(test, model="gone", seconds=0.5)


def test_answers_of_a_request_keep_their_order(run: Callable[..., list[FakeProcess]]) -> None:
    async def test(served: ServedModel) -> None:
        texts = [f"{'word ' * (number % 7)}{number}" for number in range(50)]
        assert await ask(served, *texts) == [f"[MASK] {text}".encode() for text in texts]

    run(test, batch_tokens=40)


def test_a_cancelled_request_leaves_the_queue(run: Callable[..., list[FakeProcess]]) -> None:
    async def test(served: ServedModel) -> None:
        first = ask(served, "hang")
        await asyncio.sleep(0.05)
        second = ask(served, "a", "b")
        await asyncio.sleep(0.05)
        second.cancel()
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert await ask(served, "c") == [b"[MASK] c"]

    run(test, stuck_seconds=0.2)
