"""What computes states and logits: a small interface, onnxruntime behind it, and torch as the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from pubmedbert.cores import cores
from pubmedbert.errors import FaultError, InputError
from pubmedbert.infer.engines.forms import Precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pubmedbert.infer.engines.converted import Converted
    from pubmedbert.infer.engines.onnx_engine import Explorer

Backend = Literal["auto", "onnx", "torch"]
"""auto is onnx, and torch where onnxruntime is not installed. OpenVINO's int8 was not faster at equal quality."""


class Encoder(Protocol):
    """A model that turns rows of word pieces into states; it knows word pieces only as numbers."""

    name: str
    """Backend and precision, such as "onnx int8"."""
    width: int
    """D, the width of the states."""
    max_positions: int
    """The longest row, [CLS] and [SEP] included."""

    def hidden(
        self,
        rows: Sequence[Sequence[int]],
        where: Sequence[Sequence[int]] | None = None,
        seconds: Sequence[int] | None = None,
    ) -> list[NDArray[np.float32]]:
        """States of the last layer.

        Args:
            rows: word-piece ids of each row, [CLS] and [SEP] included; at least one id, at most `max_positions`.
            where: the places wanted in each row; all where it is None.
            seconds: the place where the second segment begins in each row; none has one where it is None.

        Returns:
            `[M, D]` for each row, in the order of the places given for it.
        """


class Engine(Encoder, Protocol):
    """An encoder that scores the vocabulary at chosen places, too."""

    vocab_size: int
    """V, the size of the model's vocabulary, unused ids included."""

    def logits(self, rows: Sequence[Sequence[int]], where: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Score the vocabulary.

        Args:
            rows: as for `hidden`.
            where: the places to score in each row; M in all.

        Returns:
            `[M, V]` logits, in the order of the rows and of the places given for each.
        """


def open_engine(
    folder: Path,
    *,
    precision: Precision | None = None,
    backend: Backend = "auto",
    threads: int | None = None,
    one_shot: bool = False,
) -> Engine:
    """Open a model that fills masks.

    Args:
        folder: in Hugging Face layout. It is converted for onnxruntime once, and the conversion kept in the cache.
        precision: "int8" as `pubmedbert export --int8` judged it, "fp32", or None: int8 where it was judged good for
            the folder's weights, fp32 otherwise.
        backend: "onnx", "torch", or "auto": onnx, and torch where onnxruntime is not installed.
        threads: processor threads; all where it is None, or as many as OMP_NUM_THREADS says.
        one_shot: start fast rather than run fast: for a command that answers and ends.

    Raises:
        InputError: there is no int8 export, or it can't be used here; there is no such backend or precision.
        ModelError: the folder holds no BERT with a masked-language-model head.
    """
    if _backend(backend, precision) == "torch":
        from pubmedbert.infer.engines import torch_engine

        torch_engine.use(None if threads is None else thread_count(threads))
        return torch_engine.TorchEngine(folder)
    from pubmedbert.infer.engines.onnx_engine import OnnxEngine

    converted = _converted(folder, precision, "mlm")
    return OnnxEngine(converted, thread_count(threads), one_shot=one_shot)


def open_encoder(
    folder: Path,
    *,
    part: Literal["encoder", "tuned"] = "encoder",
    precision: Precision | None = None,
    backend: Backend = "auto",
    threads: int | None = None,
    one_shot: bool = False,
) -> Encoder:
    """Open an encoder without its heads: of any BERT, or ("tuned") of a fine-tuned one; otherwise as `open_engine`.

    It is fp32 unless int8 is asked for: `pubmedbert export --int8` judges how masks are filled, not the states.

    Raises:
        InputError: there is no int8 export, or it can't be used here; there is no such backend or precision.
        ModelError: the folder holds no such model.
    """
    if _backend(backend, precision) == "torch":
        from pubmedbert.infer.engines import torch_engine

        torch_engine.use(None if threads is None else thread_count(threads))
        return torch_engine.open_encoder(folder, part)
    from pubmedbert.infer.engines.onnx_engine import OnnxEncoder

    return OnnxEncoder(_converted(folder, precision or "fp32", part), thread_count(threads), one_shot=one_shot)


def open_explorer(
    folder: Path, *, part: Literal["encoder", "tuned"] = "encoder", threads: int | None = None
) -> Explorer:
    """Open a model to look into, in fp32; see `pubmedbert.infer.engines.onnx_engine.Explorer`.

    Raises:
        ModelError: the folder holds no such model.
    """
    from pubmedbert.infer.engines.onnx_engine import Explorer

    return Explorer(_converted(folder, "fp32", part), thread_count(threads))


def open_heads(folder: Path, *, part: Literal["encoder", "tuned"] = "encoder", threads: int | None = None) -> Encoder:
    """Open an encoder whose `hidden` gives what the heads of the last layer do, side by side, before they are mixed.

    It is of any BERT, or ("tuned") of a fine-tuned one, without its heads for tasks, in fp32.

    Raises:
        ModelError: the folder holds no such model.
    """
    from pubmedbert.infer.engines.onnx_engine import OnnxEncoder

    return OnnxEncoder(_converted(folder, "fp32", part), thread_count(threads), output="heads")


def _backend(backend: Backend, precision: Precision | None) -> Literal["onnx", "torch"]:
    if backend not in get_args(Backend):
        raise InputError(f"backend must be one of {', '.join(get_args(Backend))}, not {backend!r}")
    if precision is not None and precision not in get_args(Precision):
        raise InputError(f"precision must be one of {', '.join(get_args(Precision))}, not {precision!r}")
    if backend == "auto":
        backend = "onnx" if find_spec("onnxruntime") else "torch"
    if backend == "torch" and precision == "int8":
        raise InputError("torch computes fp32 only; int8 needs the onnx backend")
    return backend


def _converted(folder: Path, precision: Precision | None, part: Literal["mlm", "encoder", "tuned"]) -> Converted:
    """The conversion that is to be run, made where the cache has none or a damaged one."""
    from pubmedbert.infer.cache import cached
    from pubmedbert.infer.engines.converted import VERSION, convert, open_converted
    from pubmedbert.infer.engines.quantise import multiplies_signed
    from pubmedbert.infer.engines.weights import fingerprint, read_checkpoint

    mark = fingerprint(folder)
    int8 = _int8(folder, mark, precision, part)
    # A model with and without its vocabulary head is one conversion, which has a graph for each.
    kind: Literal["encoder", "tuned"] = "tuned" if part == "tuned" else "encoder"
    rounded = "fp32"
    if int8:
        form = "int8" if multiplies_signed() else "uint8"
        rounded = f"{form}-{sha256(' '.join(sorted(int8)).encode()).hexdigest()[:16]}"
    key = f"onnx-{VERSION}-{mark}-{kind}-{rounded}"

    def make(made: Path) -> None:
        convert(read_checkpoint(folder, kind), made, mark, int8)
        if fingerprint(folder) != mark:
            raise InputError(f"{folder} was replaced while it was read; try again")

    made = cached(key, make, lambda made: open_converted(made, mark) is not None)
    found = open_converted(made, mark)
    if found is None:
        raise InputError(f"{made} is damaged and cannot be made anew; delete it")
    if part == "mlm" and "logits" not in found.outputs:
        read_checkpoint(folder, "mlm")  # says what is missing
    return replace(found, again=lambda: _converted(folder, precision, part))


def _int8(folder: Path, mark: str, precision: Precision | None, part: str) -> frozenset[str]:
    """The matrices that are rounded to 8 bits; none for fp32.

    Raises:
        InputError: int8 is asked for and there is none.
    """
    from pubmedbert.infer.engines.verdict import INT8_FILE, read_verdict

    if precision == "fp32" or (part == "tuned" and precision is None):
        return frozenset()
    if part == "tuned":
        raise InputError("int8 is for models that fill masks; a fine-tuned model is computed in fp32")
    file = folder / INT8_FILE
    int8 = read_verdict(folder, mark) if file.exists() else None
    if int8:
        return int8
    if precision is None:
        return frozenset()
    how = f"make one with: pubmedbert export {folder} --int8 --out FOLDER"
    if file.exists():
        raise InputError(f"{file} is of another version of pubmedbert, or of other weights than the folder's; {how}")
    raise InputError(f"{folder} has no int8 export; {how}")


def check_finite(scores: NDArray[np.floating]) -> None:
    """Refuse what a model computed where it is no number.

    Raises:
        FaultError: it is not, in some place.
    """
    import numpy

    if not numpy.isfinite(scores).all():
        raise FaultError("the model's scores are no finite numbers: its weights are damaged; train or fetch it anew")


def thread_count(threads: int | None) -> int:
    """How many threads are used where so many are asked for; see `open_engine`.

    Raises:
        InputError: less than one is.
    """
    if threads is not None:
        if threads < 1:
            raise InputError(f"threads must be at least 1, not {threads}")
        return threads
    return cores()
