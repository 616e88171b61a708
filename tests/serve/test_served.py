"""A served model over processes that end, hang or cannot start again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from pubmedbert.errors import InputError
from pubmedbert.serve import frames
from pubmedbert.serve.limits import Limits, RefusalError
from pubmedbert.serve.metrics import Metrics
from pubmedbert.serve.process import Loading, ModelProcess, ProcessEndedError
from pubmedbert.serve.served import ServedModel
from pubmedbert.serve.weighing import Text


class FakeProcess:
    """Answers texts with themselves; "poison" ends it, "hang" keeps it for ever, "odd" makes it talk nonsense."""

    def __init__(self, folder: Path) -> None:
        self.about = {"folder": str(folder), "tasks": ["fill-mask"], "max_tokens": 64, "pairs": False, "labels": []}
        self.about |= {"width": 32, "fingerprint": "0" * 32}
        self.batches: list[list[str]] = []
        self.given_up: list[int] = []
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def send(self, jobs: Sequence[dict[str, Any]]) -> int:
        if self.ended.done():
            raise ProcessEndedError
        self.batches.append([job["text"] for job in jobs])
        return len(self.batches)

    def give_up(self, number: int) -> None:
        self.given_up.append(number)

    async def answers(self, count: int) -> list[frames.Frame]:
        texts = self.batches[-1]
        assert len(texts) == count
        await asyncio.sleep(0.01)
        if any("odd" in text for text in texts):
            raise ValueError("not a frame")
        if any("poison" in text for text in texts):
            raise ProcessEndedError
        if any("hang" in text for text in texts):
            await asyncio.sleep(1000)
        return [(frames.OK, text.encode()) for text in texts]

    async def end(self, seconds: float) -> None:
        """Nothing has to end."""


Test = Callable[[ServedModel], Awaitable[None]]


@pytest.fixture
def made() -> list[FakeProcess]:
    """The processes that `run` has started."""
    return []


@pytest.fixture
def run(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, made: list[FakeProcess]
) -> Callable[..., list[FakeProcess]]:
    """Run a test on a model over fake processes; those that were started are returned."""
    asked: list[str] = []

    async def start(loading: Loading) -> FakeProcess:
        if "gone" in asked and made:
            raise InputError("it has gone")
        asked.append(loading.model)
        made.append(FakeProcess(folders["mask"].resolve()))
        return made[-1]

    monkeypatch.setattr(ModelProcess, "start", start)

    def inside(test: Test, model: str = "fake", **limits: Any) -> list[FakeProcess]:
        async def with_model() -> None:
            served = ServedModel("fake", Loading(model=model), Limits(**limits), Metrics())
            async with served.started():
                await test(served)

        asyncio.run(with_model())
        assert asked == [model, *[str(folders["mask"].resolve())] * (len(made) - 1)]  # not what the hub has by then
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

    made = run(test)
    assert len(made) == 3
    assert [len(batch) for batch in made[0].batches] == [4]
    assert {len(batch) for batch in made[1].batches} == {1}, "what may be the cause is computed alone"
    assert made[1].batches[-1] == ["[MASK] poison"]


def test_what_cannot_be_understood_is_refused_and_nothing_is_forgotten(run: Callable[..., list[FakeProcess]]) -> None:
    async def test(served: ServedModel) -> None:
        answers = await asyncio.gather(ask(served, "odd"), ask(served, "a"), return_exceptions=True)
        assert isinstance(answers[0], RefusalError)
        assert answers[0].status == 503
        assert answers[1] == [b"[MASK] a"]

    run(test, seconds=5.0)


def test_a_process_that_ends_idle_is_replaced_and_no_text_pays_for_it(
    run: Callable[..., list[FakeProcess]], made: list[FakeProcess]
) -> None:
    async def test(served: ServedModel) -> None:
        for _ in range(3):
            made[-1].ended.set_result(1)
            assert await ask(served, "a") == [b"[MASK] a"]
        made[-1].ended.set_result(1)
        while len(made) < 5:  # nobody asks for anything
            await asyncio.sleep(0.01)
        assert served.ready

    run(test, seconds=5.0)


def test_a_model_that_was_replaced_is_not_served_in_place_of_the_first(
    run: Callable[..., list[FakeProcess]], made: list[FakeProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(served: ServedModel) -> None:
        start = ModelProcess.start

        async def other(loading: Loading) -> ModelProcess:
            process = await start(loading)
            process.about["fingerprint"] = "1" * 32
            return process

        monkeypatch.setattr(ModelProcess, "start", other)
        made[-1].ended.set_result(1)
        with pytest.raises(RefusalError) as refused:
            await ask(served, "a")
        assert refused.value.status == 504
        assert not served.ready

    run(test, seconds=1.0)


def test_a_text_that_was_never_taken_is_not_blamed(
    run: Callable[..., list[FakeProcess]], made: list[FakeProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    send, failures = FakeProcess.send, iter([True] * 3)

    async def failing(process: FakeProcess, jobs: Sequence[dict[str, Any]]) -> int:
        if next(failures, False):
            raise ProcessEndedError
        return await send(process, jobs)

    monkeypatch.setattr(FakeProcess, "send", failing)

    async def test(served: ServedModel) -> None:
        asked = [ask(served, "a"), ask(served, "b")]
        assert [await one for one in asked] == [[b"[MASK] a"], [b"[MASK] b"]]

    run(test, seconds=5.0)
    assert made[-1].batches == [["[MASK] a", "[MASK] b"]], "they are not suspected"


def test_room_is_looked_for_before_texts_are_read(run: Callable[..., list[FakeProcess]]) -> None:
    async def test(served: ServedModel) -> None:
        asked = [ask(served, "hang"), ask(served, "a" * 40)]
        await asyncio.sleep(0.05)
        served._weigher._encode = None  # type: ignore[assignment,method-assign]
        with pytest.raises(RefusalError) as caught:
            await ask(served, "b" * 40)
        assert caught.value.status == 429
        for one in asked:
            one.cancel()

    run(test, queue_characters=60, batch_tokens=1, stuck_seconds=0.5)


def test_reading_is_part_of_the_time(run: Callable[..., list[FakeProcess]]) -> None:
    async def test(served: ServedModel) -> None:
        served._weigher._encode = lambda texts: time.sleep(0.3) or [[1]]  # type: ignore[func-returns-value,method-assign]
        with pytest.raises(RefusalError, match="no answer within"):
            await ask(served, "a" * 30_000)

    run(test, seconds=0.1)


def test_targets_are_read_once(run: Callable[..., list[FakeProcess]]) -> None:
    async def test(served: ServedModel) -> None:
        encode = served._weigher._encode
        read: list[str] = []

        def noted(texts: Sequence[str]) -> list[list[int]]:
            read.extend(texts)
            return encode(texts)

        served._weigher._encode = noted  # type: ignore[method-assign]
        await served.answer("fill-mask", [Text("[MASK] a"), Text("[MASK] b")], {"targets": ["drug", "imatinib"]})
        assert sorted(read) == ["[MASK] a", "[MASK] b", "drug", "imatinib"]

    run(test)


def test_vectors_of_all_pieces_are_bounded(run: Callable[..., list[FakeProcess]]) -> None:
    async def test(served: ServedModel) -> None:
        texts = [Text("a b")] * 8  # of 4 pieces, with 32 numbers each
        assert len(await served.answer("feature-extraction", texts, {"pooling": "none"})) == 8
        assert len(await served.answer("feature-extraction", texts * 2, {"pooling": "mean"})) == 16
        with pytest.raises(RefusalError, match="would answer 1,152 numbers"):
            await served.answer("feature-extraction", [*texts, Text("a b")], {"pooling": "none"})

    run(test, numbers=1024)


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


def test_a_batch_is_given_up_once_all_have_left(run: Callable[..., list[FakeProcess]], made: list[FakeProcess]) -> None:
    async def test(served: ServedModel) -> None:
        assert await ask(served, "a") == [b"[MASK] a"]
        first, second = ask(served, "hang"), ask(served, "b")
        while len(made[-1].batches) < 2:
            await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await asyncio.sleep(0.05)
        assert made[-1].given_up == []
        second.cancel()
        while not made[-1].given_up:
            await asyncio.sleep(0.01)
        assert made[-1].given_up == [2]

    run(test)


def test_a_process_stops_what_is_given_up_and_nothing_else(folders: dict[str, Path]) -> None:
    """It is stopped until it has been told, so that the batch is not over before."""

    async def test() -> None:
        process = await ModelProcess.start(Loading(model=str(folders["mask"])))
        scored: dict[str, object] = {
            "task": "fill-mask",
            "text": "a [MASK]",
            "pair": None,
            "alone": True,
            "seconds": 60.0,
        }
        scored["parameters"] = {"targets": ["imatinib inhibits"], "top_k": 1}
        try:
            worker = psutil.Process(process._process.pid)
            worker.suspend()
            while worker.status() != psutil.STATUS_STOPPED:
                await asyncio.sleep(0.01)
            process.give_up(await process.send([scored]))
            worker.resume()
            ((status, said),) = await process.answers(1)
            assert (status, said[:19]) == (frames.REFUSED, b"no answer in time; ")
            process.give_up(1)
            await process.send([scored])
            ((status, _),) = await process.answers(1)
            assert status == frames.OK
        finally:
            await process.end(5.0)

    asyncio.run(test())
