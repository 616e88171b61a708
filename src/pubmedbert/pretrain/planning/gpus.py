"""What is known of GPUs: peak rates, memory, and the share of the peak that a BERT reaches on them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from pubmedbert.errors import InputError
from pubmedbert.settings import read_toml

HERE = "cpu"
"""The name of this machine's processor."""
NETWORK = 12.5
"""GB/s for each GPU between machines: 100 Gbit/s InfiniBand."""
GIB = 2**30
PRODUCTS = 0.75
"""The share of its peak that a GPU reaches in products of matrices alone: assumed."""

_FULL_WIDTH = 1024
_AT_512 = 0.8


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A kind of GPU; the fields are explained in gpus.toml."""

    name: str
    title: str
    peak: float
    """TFLOP/s."""
    memory: float
    """GiB."""
    link: float
    """GB/s."""
    node: int
    mfu: float
    measured: bool
    bf16: bool
    fp32: float
    """TFLOP/s in single precision."""
    single: bool = False
    """Whether products are in single precision."""

    @property
    def rate(self) -> float:
        """TFLOP/s at most."""
        return self.fp32 if self.single else self.peak

    price: float | None = None
    price_source: str = ""

    def reached(self, width: int, length: int) -> float:
        """The share of the peak that a model of that width reaches on rows of that length.

        What is not a product of matrices (GELU, dropout, norms) grows with the width D, the products with its square,
        so a model narrower than BERT-large reaches proportionally less: in published runs BERT-base reaches about
        three quarters. Longer rows cost more than their FLOPs, for softmax and dropout of the scores: by the one row
        that was used to set it, 512 tokens reach 0.8 of what 128 do. Neither holds for a CPU, whose products are slow
        beside its memory. In single precision products take longer by what the data sheet says, and all else has twice
        the bytes to move.
        """
        if self.name == HERE:
            return self.mfu
        longer = min(max(length - 128, 0), 384) / 384
        half = self.mfu * min(1.0, width / _FULL_WIDTH) * (1 - (1 - _AT_512) * longer)
        if not self.single:
            return half
        beside = 1 / (half * self.peak) - 1 / (PRODUCTS * self.peak)  # seconds for a TFLOP
        return 1 / (self.fp32 * (1 / (PRODUCTS * self.fp32) + 2 * beside))

    def in_fp32(self) -> Gpu:
        """The GPU with products in single precision."""
        return replace(self, measured=False, single=True)

    def all_reduce(self, size: float, gpus: int) -> float:
        """Seconds in which a ring of GPUs adds up `size` bytes."""
        speed = self.link if gpus <= self.node else min(self.link, NETWORK)
        return 2 * size * (gpus - 1) / gpus / (speed * 1e9)


@cache
def known_gpus() -> dict[str, Gpu]:
    """The GPUs of gpus.toml by name."""
    return {name: Gpu(name=name, **values) for name, values in read_toml(Path(__file__).with_name("gpus.toml")).items()}


def find_gpu(name: str) -> Gpu:
    """The GPU of that name; "cpu" is this machine's processor, whose peak is measured now.

    Raises:
        InputError: there is no such GPU.
    """
    if name == HERE:
        return _this_machine()
    if name not in known_gpus():
        raise InputError(f"--gpu {name} is not known; there are {', '.join(known_gpus())} and {HERE}")
    return known_gpus()[name]


def step_seconds(
    flops: float,
    gpu: Gpu,
    gpus: int,
    width: int,
    length: int,
    gradients: float = 0.0,
    mfu: float | None = None,
) -> float:
    """Seconds of a step: its arithmetic spread over the GPUs, then one all-reduce of the gradients.

    Args:
        flops: of the step over all GPUs.
        gpu: the kind of GPU.
        gpus: how many.
        width: D of the model.
        length: T of its rows.
        gradients: bytes to add up.
        mfu: the share of the peak, if not that of `Gpu.reached`.
    """
    reached = gpu.reached(width, length) if mfu is None else mfu
    return flops / (gpus * gpu.rate * 1e12 * reached) + gpu.all_reduce(gradients, gpus)


def _this_machine() -> Gpu:
    from pubmedbert.model.flops import peak_flops

    peak = peak_flops() / 1e12
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Gpu(
        name=HERE,
        title=f"this machine's processor, {os.cpu_count()} cores",
        peak=peak,
        memory=memory / GIB,
        link=NETWORK,
        node=1,
        mfu=0.6,
        measured=False,
        bf16=False,
        fp32=peak,
    )
