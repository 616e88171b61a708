"""Where the metrics of a run go: metrics.jsonl always, TensorBoard and Weights & Biases where they are asked for."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from pubmedbert import runs
from pubmedbert.errors import InputError
from pubmedbert.files import write_text
from pubmedbert.progress import say

SINKS = ("tensorboard", "wandb")
"""What `--log` takes."""
FOLDER = "logs"
"""Where in a run the sinks beside metrics.jsonl write."""


class Sink(Protocol):
    """Takes what a step or an evaluation measured."""

    def write(self, step: int, values: Mapping[str, object]) -> None:
        """Take the values of a step; steps never fall."""

    def close(self) -> None:
        """Write what is still held back."""


class JsonLines:
    """metrics.jsonl: a line for each step and each evaluation.

    Args:
        path: of the file, which is added to.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, object]) -> None:
        """Add a line, step first."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")

    def flush(self, *, to_disk: bool = False) -> None:
        """Let readers see the lines; `to_disk` makes them survive a power failure, too."""
        self._file.flush()
        if to_disk:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """Event files for TensorBoard, by torch's writer. What a killed run wrote after its checkpoint is hidden.

    Args:
        folder: of the run.
        step: the step that the run goes on from.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / FOLDER / "tensorboard"), purge_step=step + 1 if step else 0)

    def write(self, step: int, values: Mapping[str, object]) -> None:
        """Add a scalar for each number."""
        for name, value in _numbers(values):
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write the rest."""
        self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases, which the same folder goes on with; WANDB_MODE=offline keeps it on this machine.

    Its charts go by our steps, not by W&B's count, which cannot fall: what a run that went back had logged stays there
    beside what it logs then.

    Args:
        folder: of the run, whose settings are sent along.

    Raises:
        InputError: nobody is logged in, or the service is out of reach.
    """

    def __init__(self, folder: Path) -> None:
        import wandb

        home = folder / FOLDER
        home.mkdir(parents=True, exist_ok=True)
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "pubmedbert"),
                name=folder.resolve().name,
                id=_name(home / "wandb" / "id"),
                resume="allow",
                dir=str(home.resolve()),
                config=runs.config(folder),
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.errors.Error as error:
            raise InputError(f"{_said(error)} (WANDB_MODE=offline keeps the numbers on this machine)") from error
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, values: Mapping[str, object]) -> None:
        """Log the numbers."""
        self._run.log({"step": step, **dict(_numbers(values))})

    def close(self) -> None:
        """End the run."""
        self._run.finish()


class Beside:
    """A sink that may fail: it is said once, and the run goes on, as metrics.jsonl has everything.

    Args:
        name: as `--log` takes it.
        opened: opens what is given the numbers until it fails.
        begun: whether the run has made steps; before, a sink that cannot be opened is an error.

    Raises:
        InputError: it cannot be opened.
    """

    def __init__(self, name: str, opened: Callable[[], Sink], *, begun: bool) -> None:
        self._name = name
        self._sink: Sink | None = None
        try:
            self._sink = opened()
        except Exception as error:
            if not begun:
                raise InputError(f"--log {name}: {_said(error)}") from error
            self._say(error)

    def write(self, step: int, values: Mapping[str, object]) -> None:
        """Give the values on, if the sink has not failed before."""
        try:
            if self._sink:
                self._sink.write(step, values)
        except Exception as error:  # whatever it is, days of training are worth more than a chart
            self._say(error)
            self.close()
            self._sink = None

    def close(self) -> None:
        """Close the sink, which may fail, too."""
        try:
            if self._sink:
                self._sink.close()
        except Exception as error:
            self._say(error)

    def _say(self, error: Exception) -> None:
        say(f"--log {self._name} failed ({_said(error)}); {runs.METRICS} has all numbers")


class Sinks:
    """All sinks of a run as one.

    Args:
        lines: metrics.jsonl, whose failure is one of the run.
        others: the sinks beside it.
    """

    def __init__(self, lines: JsonLines, others: Sequence[Beside]) -> None:
        self._lines = lines
        self._others = others

    def write(self, step: int, values: Mapping[str, object]) -> None:
        """Give the values of a step to every sink."""
        self._lines.write(step, values)
        for sink in self._others:
            sink.write(step, values)

    def flush(self, *, to_disk: bool = False) -> None:
        """As `JsonLines.flush`; the others flush by themselves."""
        self._lines.flush(to_disk=to_disk)


def check_sinks(names: Sequence[str]) -> None:
    """Make sure that sinks can be opened, before anything is trained.

    Raises:
        InputError: there is no such sink, or its package is not installed.
    """
    for name in names:
        if name not in SINKS:
            raise InputError(f"--log {name} is not known; there are {' and '.join(SINKS)}")
        if find_spec(name) is None:
            raise InputError(f"--log {name} needs {name}: pip install '.[{name}]' in the checkout")


@contextmanager
def open_sinks(folder: Path, names: Sequence[str] = (), step: int = 0) -> Iterator[Sinks]:
    """Open the sinks of a run for the time of a block.

    Args:
        folder: of the run, with its config.toml.
        names: of the sinks beside metrics.jsonl.
        step: the step that the run goes on from.

    Raises:
        InputError: as `check_sinks`; or a sink cannot be opened, and no step was made.
    """
    check_sinks(names)
    with ExitStack() as stack:
        begun = bool(runs.last_metrics(folder))
        lines = JsonLines(folder / runs.METRICS)
        stack.callback(lines.close)
        others = []
        for name in dict.fromkeys(names):
            board = partial(TensorBoard, folder, step) if name == "tensorboard" else partial(WeightsAndBiases, folder)
            beside = Beside(name, board, begun=begun)
            stack.callback(beside.close)
            others.append(beside)
        yield Sinks(lines, others)


def _name(path: Path) -> str:
    """What a run is called by: drawn once, as a folder's name may be that of an earlier run or one elsewhere."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, secrets.token_hex(8))
    return path.read_text(encoding="utf-8")


def _said(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _numbers(values: Mapping[str, object]) -> Iterator[tuple[str, Any]]:
    """The finite numbers among the values: charts hold nothing else."""
    for name, value in values.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield name, value
