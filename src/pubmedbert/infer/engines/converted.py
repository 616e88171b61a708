"""Converted models in the cache: graphs, the weights they share, and a manifest to know a damaged one by.

`manifest.json` says what was converted, to what, and the size or hash of each file; `hidden.onnx`, `logits.onnx` (where
the model has a vocabulary head) and `views.onnx` are the graphs; `weights.bin` is behind all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pubmedbert.errors import FaultError, InputError
from pubmedbert.files import read_json, sha256, write_json
from pubmedbert.infer.engines.forms import Output, Precision
from pubmedbert.infer.engines.weights import Checkpoint
from pubmedbert.model.config import ModelError

VERSION = 3
"""Of graphs, rounding and manifest; another one is made anew."""

_MANIFEST = "manifest.json"
_WEIGHTS = "weights.bin"


@dataclass(frozen=True)
class Converted:
    """A converted model, ready to run."""

    folder: Path
    precision: Precision
    vocab_size: int
    width: int
    layers: int
    max_positions: int
    outputs: tuple[Output, ...]
    """What there is a graph for."""
    again: Callable[[], Converted] | None = None
    """Makes it anew; None where nobody else could take it away."""

    def graph(self, output: Output) -> Path:
        """The file of a graph."""
        return self.folder / f"{output}.onnx"

    def present(self) -> Converted:
        """Itself; the same made anew where it was deleted, as a cache may be, while a process had it open.

        Raises:
            FaultError: the model has changed since, or has gone.
        """
        files = (self.folder / _WEIGHTS, *(self.graph(output) for output in self.outputs))
        if self.again is None or all(file.exists() for file in files):
            return self
        try:
            made = self.again()
        except (InputError, ModelError) as error:
            raise FaultError(f"{self.folder} was deleted while it was in use, and {error}") from error
        if made.folder.name != self.folder.name:  # the name is made of all that it depends on
            raise FaultError(f"{self.folder} was deleted while it was in use, and its model was changed; start again")
        return made


def convert(checkpoint: Checkpoint, folder: Path, fingerprint: str, int8: Collection[str] = ()) -> None:
    """Write a converted model.

    Args:
        checkpoint: the model.
        folder: an existing, empty folder.
        fingerprint: of the model's folder, by which the conversion is known to be of these weights.
        int8: the matrices (see `weight_file.matrices`) that are rounded to 8 bits.

    Raises:
        InputError: a weight to be rounded is not finite, or the model has no such matrix.
        OSError: the disk is full.
    """
    from pubmedbert.infer.engines.graph import build
    from pubmedbert.infer.engines.weight_file import write_weights

    weights = write_weights(checkpoint, folder / _WEIGHTS, int8)
    outputs: list[Output] = ["hidden"]
    if checkpoint.has_vocabulary:
        outputs.append("logits")
    if not int8:  # looking inside is for the exact model
        outputs += ["heads", "views"]
    for output in outputs:
        graph = folder / f"{output}.onnx"
        graph.write_bytes(build(checkpoint.config, weights, output).SerializeToString(deterministic=True))
    config = checkpoint.config
    manifest = {
        "version": VERSION,
        "fingerprint": fingerprint,
        "precision": "int8" if int8 else "fp32",
        "vocab_size": config.vocab_size,
        "width": config.width,
        "layers": config.layers,
        "max_positions": config.max_positions,
        "graphs": {output: sha256(folder / f"{output}.onnx") for output in outputs},
        # The size alone: the cache is the user's own, a write cut short shows, and reading it all takes its time.
        "weights": (folder / _WEIGHTS).stat().st_size,
    }
    write_json(folder / _MANIFEST, manifest)


def open_converted(folder: Path, fingerprint: str) -> Converted | None:
    """A converted model, or None where it is missing, damaged, of another version or of other weights."""
    try:
        manifest = read_json(folder / _MANIFEST)
        if (manifest["version"], manifest["fingerprint"]) != (VERSION, fingerprint):
            return None
        graphs = manifest["graphs"]
        whole = (folder / _WEIGHTS).stat().st_size == manifest["weights"]
        if not whole or not isinstance(graphs, dict) or not {"hidden"} <= graphs.keys() <= set(get_args(Output)):
            return None
        if any(sha256(folder / f"{output}.onnx") != digest for output, digest in graphs.items()):
            return None
        sizes = {name: int(str(manifest[name])) for name in ("vocab_size", "width", "layers", "max_positions")}
        precision: Precision = "int8" if manifest["precision"] == "int8" else "fp32"
    except (InputError, KeyError, OSError, ValueError):
        return None
    return Converted(folder, precision, **sizes, outputs=tuple(graphs), again=None)
