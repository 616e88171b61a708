"""The shape of a BERT: the papers' sizes, and Hugging Face's config.json read and written, of an ELECTRA, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


class ModelError(ValueError):
    """A model that cannot be used: one sentence that says what is wrong and what would be right."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a BERT encoder (Devlin et al. 2019; Gu et al. 2020, section 2.2: BERT-BASE, uncased)."""

    vocab_size: int = 30522
    """Word pieces in the vocabulary, V."""
    layers: int = 12
    """Transformer layers."""
    width: int = 768
    """Width of the hidden states, D."""
    heads: int = 12
    """Attention heads, H."""
    ffn: int = 3072
    """Width of the feed-forward layer."""
    max_positions: int = 512
    """Learned positions: the longest row, [CLS] and [SEP] included."""
    token_types: int = 2
    """Segment (token type) embeddings."""
    dropout: float = 0.1
    """Share of hidden activations dropped in training."""
    attention_dropout: float = 0.1
    """Share of attention probabilities dropped in training."""
    norm_eps: float = 1e-12
    """Epsilon of the layer norms."""
    initializer_range: float = 0.02
    """Standard deviation of the initial weights."""
    pad_id: int = 0
    """Id of [PAD]."""
    tied: bool = True
    """Whether the vocabulary head shares the word embeddings."""

    def __post_init__(self) -> None:
        for field in ("vocab_size", "layers", "width", "heads", "ffn", "max_positions", "token_types"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ModelError(f"{field} must be a whole number from 1, not {value!r}")
        if self.width % self.heads:
            raise ModelError(f"width {self.width} is not a multiple of the {self.heads} heads")
        for field in ("dropout", "attention_dropout"):
            value = getattr(self, field)
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise ModelError(f"{field} must be from 0 to below 1, not {value!r}")
        for field in ("norm_eps", "initializer_range"):
            value = getattr(self, field)
            if not isinstance(value, int | float) or not value > 0:
                raise ModelError(f"{field} must be a number above 0, not {value!r}")
        if not isinstance(self.tied, bool):
            raise ModelError(f"tied must be true or false, not {self.tied!r}")
        if not isinstance(self.pad_id, int) or not 0 <= self.pad_id < self.vocab_size:
            raise ModelError(f"pad_id {self.pad_id} is outside the vocabulary of {self.vocab_size}")


SIZES: dict[str, ModelConfig] = {
    name: ModelConfig(layers=layers, width=width, heads=width // 64, ffn=4 * width)
    for name, layers, width in (
        ("tiny", 2, 128),
        ("mini", 4, 256),
        ("small", 4, 512),
        ("medium", 8, 512),
        ("base", 12, 768),
        ("large", 24, 1024),
    )
}
"""The sizes by name: Turc et al. 2019 for tiny to medium, Devlin et al. 2019 for base and large."""

# Our field on the left, Hugging Face's key on the right.
_KEYS = {
    "vocab_size": "vocab_size",
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "ffn": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "token_types": "type_vocab_size",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "norm_eps": "layer_norm_eps",
    "initializer_range": "initializer_range",
    "pad_id": "pad_token_id",
    "tied": "tie_word_embeddings",
}


def config_to_hf(config: ModelConfig) -> dict[str, object]:
    """The config.json of `transformers.BertForMaskedLM` for this shape."""
    fixed: dict[str, object] = {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
    }
    return fixed | {key: getattr(config, field) for field, key in _KEYS.items()}


def electra_to_hf(config: ModelConfig, embedding: int) -> dict[str, object]:
    """The config.json of transformers' ELECTRA models for this shape, but for their architecture.

    Args:
        config: the shape of one of the two encoders.
        embedding: E, the width of its embeddings.
    """
    values = config_to_hf(config) | {"model_type": "electra", "embedding_size": embedding}
    return {key: value for key, value in values.items() if key not in ("architectures", "position_embedding_type")}


# What a config.json that leaves out a key means by it.
_DEFAULTS = {"bert": ModelConfig(), "electra": ModelConfig(width=256, heads=4, ffn=1024)}
_ELECTRA_EMBEDDING = 128


def config_from_hf(
    values: Mapping[str, object], source: str = "config.json", *, projected: bool = False
) -> ModelConfig:
    """Read a Hugging Face config.json; keys it leaves out have the defaults of transformers.

    An ELECTRA whose embeddings are as wide as its states, such as a discriminator of size base or large, is a BERT in
    all but the names of its weights.

    Args:
        values: the parsed config.json.
        source: its name, for error messages.
        projected: whether it may be an ELECTRA whose embeddings have another width; see `embedding_width`.

    Raises:
        ModelError: it is no BERT, or differs from BERT in a way this encoder does not compute.
    """
    kind = values.get("model_type", "bert")
    if kind not in ("bert", "electra"):
        raise ModelError(f"{source}: model_type is {kind!r}; only 'bert' can be loaded, and encoders of 'electra'")
    for key, expected in (("hidden_act", "gelu"), ("position_embedding_type", "absolute"), ("is_decoder", False)):
        found = values.get(key) or expected
        if found != expected:
            raise ModelError(f"{source}: {key} is {found!r}; only {expected!r} can be loaded")
    known = {field: values[key] for field, key in _KEYS.items() if values.get(key) is not None}
    try:
        config = replace(_DEFAULTS[str(kind)], **known)  # type: ignore[arg-type]  # __post_init__ checks the types
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
    if kind == "electra" and not projected and (width := embedding_width(values, source)) != config.width:
        raise ModelError(
            f"{source}: embedding_size is {width} and hidden_size {config.width}; of an ELECTRA only an encoder where "
            "they are equal can be loaded, such as a discriminator of size base or large"
        )
    return config


def embedding_width(values: Mapping[str, object], source: str = "config.json") -> int:
    """E, the width of an ELECTRA's embeddings.

    Args:
        values: the parsed config.json.
        source: its name, for error messages.

    Raises:
        ModelError: it is no whole number from 1.
    """
    width = values.get("embedding_size", _ELECTRA_EMBEDDING)
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise ModelError(f"{source}: embedding_size must be a whole number from 1, not {width!r}")
    return width
