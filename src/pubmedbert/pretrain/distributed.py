"""Ranks: the processes of `torchrun` that share a run, each with its part of every step.

Every rank holds the whole model. The packs of a step are the same whatever the number of ranks. They are dealt out,
each rank adds up the gradients of its own, and one all-reduce of one buffer adds them up over the ranks.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from pubmedbert.errors import InputError
from pubmedbert.pretrain.meeting import agree
from pubmedbert.progress import say
from pubmedbert.shards.samples import deal

_CPU = torch.device("cpu")
_PATIENCE = timedelta(hours=3)
"""For how long ranks wait for each other: the first one verifies the shards, evaluates and saves for all. That a
process of their own machine has died they hear from torchrun, sooner."""
EVEN = 0.95
"""Share of the ranks' time in use from which a step counts as evenly dealt out."""


@dataclass(frozen=True)
class Ranks:
    """This process among the ranks of a run."""

    rank: int = 0
    """Its number, from 0."""
    count: int = 1
    """How many there are."""
    device: torch.device = _CPU
    """Where it computes."""

    @property
    def main(self) -> bool:
        """Whether this rank evaluates, writes and speaks for all."""
        return self.rank == 0

    def say(self, message: str) -> None:
        """Print a line for people, once for all ranks."""
        if self.main:
            say(message)

    def deal(self, sizes: Sequence[int]) -> list[int]:
        """This rank's share of a step's packs: the largest first, each to the rank with the fewest tokens so far.

        Args:
            sizes: tokens in each pack.

        Returns:
            Numbers of packs, ascending.
        """
        return [pack for pack, rank in enumerate(deal(sizes, self.count)) if rank == self.rank]

    def balance(self, sizes: Sequence[int]) -> float:
        """The share of the ranks' time in which they have work, while all wait for the one with the most tokens."""
        loads = np.bincount(deal(sizes, self.count), sizes, self.count)
        return float(loads.mean() / loads.max())

    def total(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Sums over the ranks, which all name the same numbers: a message of some bytes."""
        if self.count == 1:
            return dict(numbers)
        sums = torch.tensor(list(numbers.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return dict(zip(numbers, sums.tolist(), strict=True))

    def from_main(self, number: float) -> float:
        """The number that the main rank has."""
        return self.total({"": number if self.main else 0.0})[""]

    def same(self, text: str) -> bool:
        """Whether every rank has the text that the main one has; all of them get the same answer."""
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")  # exact in double precision
        return not self.total({"": float(self.from_main(number) != number)})[""]

    def add_gradients(self, parameters: Iterable[nn.Parameter], numbers: Sequence[float]) -> list[float]:
        """Add up the gradients over the ranks, in place, with some numbers: one all-reduce of one flat buffer.

        Args:
            parameters: of the model; one without a gradient counts as zero.
            numbers: to be added up too, in single precision.

        Returns:
            The sums of the numbers.
        """
        owners = list(parameters)
        for parameter in owners:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self.count == 1:
            return list(numbers)
        parts = [p.grad.reshape(-1) for p in owners if p.grad is not None]
        flat = torch.cat([*parts, torch.tensor(numbers, dtype=torch.float32, device=self.device)])
        dist.all_reduce(flat)
        sizes = [p.numel() for p in owners]
        for parameter, part in zip(owners, torch.split_with_sizes(flat[: sum(sizes)], sizes), strict=True):
            parameter.grad = part.view_as(parameter)
        sums: list[float] = flat[sum(sizes) :].tolist()
        return sums

    def share(self, tensor: Tensor, owner: int) -> None:
        """Give every rank the owner's tensor, in place."""
        if self.count > 1:
            dist.broadcast(tensor, owner)


@contextmanager
def ranks(device: str = "cpu") -> Iterator[Ranks]:
    """Join the ranks that `torchrun` started; alone without it.

    Args:
        device: "cpu" (the ranks talk by gloo) or "cuda" (by NCCL; each rank takes the GPU of its number).

    Raises:
        InputError: there is no such device, or not one for each rank here; the variables of torchrun make no sense; or
            another rank is gone: the run goes on by the same command.
    """
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device must be cpu or cuda, not {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU here; leave the option out to train on the CPU")
    count = _whole("WORLD_SIZE", 1)
    place = torch.device(device, _whole("LOCAL_RANK", 0)) if device == "cuda" else torch.device("cpu")
    if device == "cuda":
        if place.index >= torch.cuda.device_count():
            found = torch.cuda.device_count()
            raise InputError(f"--device cuda: a process for each GPU is wanted; here are more than the {found} GPUs")
        torch.cuda.set_device(place)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic matrix products ask for
    if count == 1:
        yield Ranks(device=place)
        return
    rank = _whole("RANK")
    if rank >= count:
        raise InputError(f"RANK is {rank}, of a WORLD_SIZE of {count}: start several processes by torchrun")
    _whole("MASTER_PORT")
    if not os.environ.get("MASTER_ADDR"):
        raise InputError("WORLD_SIZE is set and MASTER_ADDR is not: start several processes by torchrun")
    try:
        _meet("nccl" if device == "cuda" else "gloo", rank, count)
        here = Ranks(rank, count, place)
        yield here
        here.from_main(0)  # nobody leaves before all is written
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error).lower()):
            raise
        cause = str(error).strip().splitlines()[0]
        raise InputError(
            f"another rank is gone; the same command goes on from the last checkpoint ({cause})"
        ) from error
    dist.destroy_process_group()  # not after an error: the other ranks would have to take part


def leave(code: int) -> None:
    """End this process with an exit code; alone and in order with 0, go on.

    A rank ends at once: what its message threads still hold when the interpreter is taken down can abort the process
    (PyTorch issue 190489), and torchrun would take a run that is complete for one that failed.
    """
    if (os.environ.get("WORLD_SIZE") or "1") != "1":
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if code:
        raise SystemExit(code)


def _meet(backend: str, rank: int, count: int) -> None:
    """Find the other ranks of this attempt."""
    store, *_ = next(rendezvous("env://"))
    name = agree(store, rank, count)
    own = PrefixStore(name, store)
    dist.init_process_group(backend, timeout=_PATIENCE, store=own, rank=rank, world_size=count)


def _whole(name: str, default: int | None = None) -> int:
    """A whole number that torchrun left in the environment.

    Raises:
        InputError: it is not there, or is none.
    """
    given = os.environ.get(name) or ("" if default is None else str(default))
    if not given.isdecimal():
        what = f"{name} is {given!r}" if given else f"WORLD_SIZE is set and {name} is not"
        raise InputError(f"{what}: start several processes by torchrun, and one without these variables")
    return int(given)
