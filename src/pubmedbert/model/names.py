"""The two-way table of parameter names, ours and Hugging Face's, with their shapes. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pubmedbert.model.config import ModelConfig, ModelError

Shape = tuple[int, ...]

HEAD = "cls.predictions."
"""What the names of the masked-language-model head begin with."""
WORDS = "bert.embeddings.word_embeddings.weight"
DECODER = HEAD + "decoder.weight"
# The vocabulary bias has two names. Where both are there, transformers adds the decoder's; where the head is untied, it
# reads no other.
BIAS, DECODER_BIAS = HEAD + "bias", HEAD + "decoder.bias"
POOLER = "bert.pooler.dense.weight"
NEXT_SENTENCE = "cls.seq_relationship.weight"
CLASSIFIER = "classifier.weight"

_LAYER = "bert.encoder.layer.{i}."
_ATTENTION = _LAYER + "attention.self."

# Our module and Hugging Face's (several of theirs are stacked along the first axis), and the axes of each weight, as
# ModelConfig calls them; C is the outputs of the classifier, R the two classes of next-sentence prediction. Embeddings
# alone have no bias.
_MODULES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("encoder.embeddings.words", ("bert.embeddings.word_embeddings",), ("vocab_size", "width")),
    ("encoder.embeddings.positions", ("bert.embeddings.position_embeddings",), ("max_positions", "width")),
    ("encoder.embeddings.types", ("bert.embeddings.token_type_embeddings",), ("token_types", "width")),
    ("encoder.embeddings.norm", ("bert.embeddings.LayerNorm",), ("width",)),
    (
        "encoder.layers.{i}.attention.qkv",
        (_ATTENTION + "query", _ATTENTION + "key", _ATTENTION + "value"),
        ("width", "width"),
    ),
    ("encoder.layers.{i}.attention.output", (_LAYER + "attention.output.dense",), ("width", "width")),
    ("encoder.layers.{i}.attention_norm", (_LAYER + "attention.output.LayerNorm",), ("width",)),
    ("encoder.layers.{i}.up", (_LAYER + "intermediate.dense",), ("ffn", "width")),
    ("encoder.layers.{i}.down", (_LAYER + "output.dense",), ("width", "ffn")),
    ("encoder.layers.{i}.ffn_norm", (_LAYER + "output.LayerNorm",), ("width",)),
    ("pooler.dense", ("bert.pooler.dense",), ("width", "width")),
    ("vocabulary.dense", (HEAD + "transform.dense",), ("width", "width")),
    ("vocabulary.norm", (HEAD + "transform.LayerNorm",), ("width",)),
    ("next_sentence", ("cls.seq_relationship",), ("R", "width")),
    ("classifier", ("classifier",), ("C", "width")),
)
_EMBEDDINGS = ("encoder.embeddings.words", "encoder.embeddings.positions", "encoder.embeddings.types")


def _parameters() -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Our parameter, theirs, and the axes of each of theirs."""
    for ours, theirs, axes in _MODULES:
        yield f"{ours}.weight", tuple(f"{name}.weight" for name in theirs), axes
        if ours not in _EMBEDDINGS:
            yield f"{ours}.bias", tuple(f"{name}.bias" for name in theirs), axes[:1]
    yield "vocabulary.bias", (BIAS,), ("vocab_size",)
    yield "vocabulary.decoder", (DECODER,), ("vocab_size", "width")


_TABLE = tuple(_parameters())
_THEIRS = {ours: theirs for ours, theirs, _ in _TABLE}

# What a model must have a place for, and the buffers among it, which are no weights.
_OURS = ("bert.", HEAD)
_BUFFERS = {"bert.embeddings.position_ids", "bert.embeddings.token_type_ids"}


def theirs(ours: str) -> tuple[str, ...]:
    """The Hugging Face names that a parameter of ours stands for."""
    parts = ours.split(".")
    layer = next((part for part in parts if part.isdigit()), "")
    key = ".".join("{i}" if part.isdigit() else part for part in parts)
    return tuple(name.replace("{i}", layer) for name in _THEIRS[key])


def shapes(
    config: ModelConfig, *, vocabulary: bool, pooler: bool, outputs: int = 0, next_sentence: bool = False
) -> dict[str, Shape]:
    """The weights a model has, under Hugging Face's names, each with its shape.

    Args:
        config: the model's shape; where it is tied, the vocabulary head has no decoder of its own.
        vocabulary: whether there is a masked-language-model head.
        pooler: whether there is a pooler.
        outputs: C, the outputs of the classifier; 0 where there is none.
        next_sentence: whether there is a next-sentence head.
    """
    absent = tuple(
        prefix
        for prefix, there in (
            ("pooler.", pooler),
            ("vocabulary.", vocabulary),
            ("vocabulary.decoder", not config.tied),
            ("classifier.", outputs > 0),
            ("next_sentence.", next_sentence),
        )
        if not there
    )
    sizes = {"C": outputs, "R": 2}
    wanted: dict[str, Shape] = {}
    for ours, names, axes in _TABLE:
        if ours.startswith(absent):
            continue
        shape = tuple(sizes[axis] if axis in sizes else getattr(config, axis) for axis in axes)
        layers = range(config.layers) if "{i}" in ours else range(1)
        wanted |= {name.replace("{i}", str(layer)): shape for layer in layers for name in names}
    return wanted


def modern_name(name: str) -> str:
    """Today's name of a parameter, in a BERT.

    TensorFlow-era LayerNorm names, a bare encoder's missing prefix and that of an ELECTRA are mended.
    """
    name = name.removeprefix("module.").removeprefix("electra.")
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    return f"bert.{name}" if name.startswith(("embeddings.", "encoder.", "pooler.")) else name


def layer_count(names: Collection[str]) -> int:
    """How many layers the names speak of: no more than there are names, whatever their numbers claim."""
    parts = (name.removeprefix(_LAYER.split("{")[0]).split(".")[0] for name in names)
    return len({part for part in parts if part.isdecimal()})


def check(found: Mapping[str, Shape], wanted: Mapping[str, Shape], source: Path) -> None:
    """Refuse a checkpoint that is not exactly the model.

    Args:
        found: the shapes of what the file holds, under today's names.
        wanted: from `shapes`.
        source: the file, for error messages.

    Raises:
        ModelError: a weight is missing, has another shape, or the model has no place for it.
    """
    for name, shape in wanted.items():
        if name not in found:
            raise ModelError(f"{source} lacks {name}{_head_note(name)}")
        if found[name] != shape:
            raise ModelError(
                f"{source}: {name} has shape {found[name]}, config.json asks for {shape}{_head_note(name)}"
            )
    for name in sorted(found.keys() - wanted.keys() - _BUFFERS - {DECODER}):  # a decoder may repeat the embeddings
        if name.startswith(_OURS):
            raise ModelError(f"{source} holds {name}, which a model of the shape in config.json has no place for")


def _head_note(name: str) -> str:
    if not name.startswith(HEAD):
        return ""
    return ": its masked-language-model head is incomplete, and filling masks with made-up weights would give nonsense"
