"""How the ranks of a run find each other, on one machine or many, also after some of them have died.

torchrun keeps one store for all attempts, so what dead ranks left in it lies beside what the living write; and each
machine counts restarts by itself, so no number names an attempt for all of them. The ranks therefore agree on a name:
each puts down a word that it just drew, the first rank gives out a name together with the words it was drawn for, and a
rank takes a name only if its own word is there. What the dead put down is never taken for the living.
"""

from __future__ import annotations

import json
import secrets
import time

from torch.distributed.distributed_c10d import Store

from pubmedbert.errors import InputError

PATIENCE = 600.0
"""Seconds in which all ranks must have come."""
_PAUSE = 0.05


def agree(store: Store, rank: int, count: int, patience: float = PATIENCE) -> str:
    """Wait for all ranks of this attempt.

    Args:
        store: that the ranks share; it may hold what an earlier attempt left.
        rank: this one's number, from 0.
        count: of ranks.
        patience: seconds to wait.

    Returns:
        A name that only the ranks of this attempt have.

    Raises:
        InputError: some rank did not come in time.
    """
    word, until = secrets.token_hex(8), time.monotonic() + patience
    store.set(f"word/{rank}", word)
    lead = _Lead(store, count) if rank == 0 else None
    name = ""
    while time.monotonic() < until:
        if lead:
            lead.look()
        offer = json.loads(store.get("offer")) if store.check(["offer"]) else {"name": "", "words": []}
        if word in offer["words"]:
            if offer["name"] != name:
                name = str(offer["name"])
                store.set(f"{name}/{rank}", "here")
            if store.check([f"{name}/{other}" for other in range(count)]):
                return name
        time.sleep(_PAUSE)
    sign = name or "word"  # without a name somebody's word is missing
    missing = [other for other in range(count) if other != rank and not store.check([f"{sign}/{other}"])]
    listed = ", ".join(map(str, missing)) or "unknown"
    raise InputError(f"after {patience:.0f} s not all of {count} ranks have come; missing: {listed}")


class _Lead:
    """The first rank's part: a name for the words that lie there, and a new one whenever they change.

    Args:
        store: that the ranks share.
        count: of ranks.
    """

    def __init__(self, store: Store, count: int) -> None:
        self._store = store
        self._count = count
        self._words: list[str] = []

    def look(self) -> None:
        """Offer a name, if all words are there and not the same as before."""
        keys = [f"word/{rank}" for rank in range(self._count)]
        if not self._store.check(keys):
            return
        words = [self._store.get(key).decode() for key in keys]
        if words != self._words:
            self._words = words
            self._store.set("offer", json.dumps({"name": f"attempt-{secrets.token_hex(8)}", "words": words}))
