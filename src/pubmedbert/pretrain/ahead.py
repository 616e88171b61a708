"""The packs of a step, read while the step before is trained on where the processor is free for it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pubmedbert.pretrain.distributed import Ranks
from pubmedbert.pretrain.feed import Feed
from pubmedbert.pretrain.schedule import Moment
from pubmedbert.shards.samples import Pack


@dataclass(frozen=True)
class Dealt:
    """A step's packs, dealt out to the ranks."""

    sizes: Sequence[int]
    """Word pieces in each pack of the step."""
    packs: list[tuple[int, Pack]]
    """This rank's, each with its number in the step."""


def pays(device: str) -> bool:
    """Whether to read in a thread of its own: on a CPU it would take a core from the training (not tried on a GPU)."""
    return device == "cuda"


class Ahead:
    """Reads steps, each a function of where the run is: one that was read in vain is thrown away.

    Args:
        feed: of the training documents.
        ranks: among which packs are dealt out.
    """

    def __init__(self, feed: Feed, ranks: Ranks) -> None:
        self._feed = feed
        self._ranks = ranks
        self._thread = ThreadPoolExecutor(1, "ahead") if pays(ranks.device.type) else None
        self._asked: tuple[object, ...] = ()
        self._found: Future[Dealt] | None = None

    def take(self, now: Moment, first: int) -> Dealt:
        """The step that is made with `now` from row `first` of the run on."""
        found, self._found = self._found, None
        if found and self._asked == _place(now, first):
            return found.result()
        return self._read(now, first)

    def prepare(self, now: Moment, first: int) -> None:
        """Begin to read the step that is likely to be taken next."""
        if self._thread:
            self._asked = _place(now, first)
            self._found = self._thread.submit(self._read, now, first)

    def _read(self, now: Moment, first: int) -> Dealt:
        batches = self._feed.batches(now.phase, first, now.rows)
        sizes = [batch.tokens for batch in batches]
        mine = self._ranks.deal(sizes)
        return Dealt(sizes, [(number, self._feed.read(batches[number], now.mask_share)) for number in mine])


def _place(now: Moment, first: int) -> tuple[object, ...]:
    """What a step's packs depend on; the learning rate is no part of it."""
    return first, now.phase, now.rows, now.mask_share
