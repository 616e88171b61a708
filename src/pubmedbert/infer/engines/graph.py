"""BERT as ONNX graphs, made from the checkpoint's matrices: nothing is computed that no one asked for.

Rows of one length are a batch without padding. The last layer's queries, its feed-forward and the vocabulary head run
at the wanted places only, which changes no result: nothing after the last attention looks from one place to another.
Add and LayerNormalization stand apart because onnxruntime's fused operator for both is slower on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pubmedbert.infer.engines.forms import Output
from pubmedbert.infer.engines.quantise import ZERO
from pubmedbert.model.config import ModelConfig

_OPSET = 20  # the first with Gelu
_FUSED = "com.microsoft"
_IR = 10


def build(config: ModelConfig, weights: Mapping[str, TensorProto], output: Output) -> onnx.ModelProto:
    """A graph over rows of one length.

    Inputs, all int64: `tokens` and `types`, `[B, T]`; `positions`, `[T]`; `where`, `[B*M]`, the wanted places, M of
    each row, counted through the batch (`b * T + t`); "views" takes no `where`.
    Outputs, all float32: `hidden` `[B*M, D]`; `logits` `[B*M, V]`; `heads` `[B*M, D]`; or, for "views", `attention.0`
    onwards `[B, H, T, T]`, `heads.0` onwards `[B*T, D]`, and `hidden.0` (the embeddings) onwards `[B*T, D]`.

    Args:
        config: the model's shape.
        weights: from `weight_file.write_weights`; a matrix that is there in int8 is computed so.
        output: what is computed.
    """
    graph = _Graph(weights)
    encoder = _Encoder(graph, config)
    if output == "views":
        return graph.finish(["tokens", "types", "positions"], encoder.views())
    if output == "heads":
        made = encoder.heads()
    else:
        made = encoder.hidden()
        made = encoder.logits(made) if output == "logits" else made
    return graph.finish(["tokens", "types", "positions", "where"], {output: made})


@dataclass
class _Graph:
    """Nodes in the order of computation, and the weights they read."""

    weights: Mapping[str, TensorProto]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, TensorProto] = field(default_factory=dict)

    def op(self, kind: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Any) -> str:
        """Add a node; the name of its output, or of the first of several: the others follow as `name.1` onwards."""
        name = f"{kind}_{len(self.nodes)}"
        names = [name, *(f"{name}.{number}" for number in range(1, outputs))]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name, domain=domain, **attributes))
        return name

    def weight(self, name: str) -> str:
        """A stored tensor."""
        self.initializers[name] = self.weights[name]
        return name

    def constant(self, *values: int) -> str:
        """A vector of whole numbers."""
        name = "constant_" + "_".join(map(str, values))
        self.initializers[name] = numpy_helper.from_array(np.array(values, dtype=np.int64), name)
        return name

    def zero(self) -> str:
        """What stands for 0 in matrices of unsigned numbers."""
        self.initializers["zero"] = numpy_helper.from_array(np.array(ZERO, dtype=np.uint8), "zero")
        return "zero"

    def linear(self, inputs: str, name: str) -> str:
        """`[N, in]` through the matrix `name` and its bias: `[N, out]`."""
        bias = self.weight(f"{name}.bias")
        if f"{name}.int8" in self.weights:
            weight, scales = self.weight(f"{name}.int8"), self.weight(f"{name}.scales")
            zero = self.zero() if self.weights[weight].data_type == TensorProto.UINT8 else ""
            return self.op("DynamicQuantizeMatMul", inputs, weight, scales, zero, bias, domain=_FUSED)
        return self.op("Gemm", inputs, self.weight(f"{name}.weight"), bias, transB=1)

    def norm(self, inputs: str, name: str, epsilon: float) -> str:
        """The layer norm `name`."""
        parts = (self.weight(f"{name}.weight"), self.weight(f"{name}.bias"))
        return self.op("LayerNormalization", inputs, *parts, axis=-1, epsilon=epsilon)

    def rows(self, table: str, numbers: str) -> str:
        """The rows of an embedding table at `numbers`."""
        if f"{table}.int8" not in self.weights:
            return self.op("Gather", self.weight(f"{table}.weight"), numbers)
        whole = self.op("Gather", self.weight(f"{table}.int8"), numbers)
        scale = self.op("Gather", self.weight(f"{table}.scales"), numbers)
        return self.op("Mul", self.op("Cast", whole, to=TensorProto.FLOAT), scale)

    def finish(self, inputs: Sequence[str], outputs: Mapping[str, str]) -> onnx.ModelProto:
        """The model whose outputs have the given names."""
        shapes = {"tokens": ["B", "T"], "types": ["B", "T"], "positions": ["T"], "where": ["W"]}
        for name, result in outputs.items():
            self.nodes.append(helper.make_node("Identity", [result], [name]))
        graph = helper.make_graph(
            self.nodes,
            "bert",
            [helper.make_tensor_value_info(name, TensorProto.INT64, shapes[name]) for name in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            list(self.initializers.values()),
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_FUSED, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="pubmedbert")


class _Encoder:
    """The nodes of an encoder (Devlin et al. 2019, section 3)."""

    def __init__(self, graph: _Graph, config: ModelConfig) -> None:
        self._graph = graph
        self._config = config
        batch = graph.op("Shape", "tokens", start=0, end=1)  # [1]: B
        self._split = graph.op("Concat", batch, graph.constant(-1, config.width), axis=0)  # [3]: B, -1, D
        self._heads = graph.op(
            "Concat", batch, graph.constant(-1, config.heads, config.width // config.heads), axis=0
        )  # [4]: B, -1, H, D/H
        self._flat = graph.constant(-1, config.width)

    def hidden(self) -> str:
        """States of the last layer at the wanted places, `[W, D]`."""
        return self._after(*self._last(), self._config.layers - 1)

    def heads(self) -> str:
        """What the heads of the last layer give at the wanted places, side by side, `[W, D]`."""
        return self._last()[1]

    def _last(self) -> tuple[str, str]:
        """What the last layer begins with at the wanted places, and what its heads give there, both `[W, D]`."""
        hidden = self._embed()
        for layer in range(self._config.layers - 1):
            hidden = self._layer(hidden, layer)
        last = self._config.layers - 1
        wanted = self._graph.op("Gather", hidden, "where", axis=0)  # [W, D]
        q = self._graph.linear(wanted, f"{last}.query")
        k, v = self._parts(self._graph.linear(hidden, f"{last}.key_value"), 2)
        return wanted, self._attend(q, k, v)

    def logits(self, hidden: str) -> str:
        """Scores of the vocabulary, `[W, V]`."""
        graph = self._graph
        state = graph.op("Gelu", graph.linear(hidden, "transform"))
        return graph.linear(graph.norm(state, "transform_norm", self._config.norm_eps), "decoder")

    def views(self) -> dict[str, str]:
        """Attentions, what the heads give, and states, of all layers, by the names of the outputs."""
        graph, last = self._graph, self._config.layers - 1
        outputs = {"hidden.0": self._embed()}
        hidden = outputs["hidden.0"]
        for layer in range(self._config.layers):
            if layer < last:
                q, k, v = self._parts(graph.linear(hidden, f"{layer}.qkv"), 3)
            else:
                q = graph.linear(hidden, f"{layer}.query")
                k, v = self._parts(graph.linear(hidden, f"{layer}.key_value"), 2)
            attention, mixed = self._attend_openly(q, k, v)
            hidden = self._after(hidden, mixed, layer)
            outputs |= {f"attention.{layer}": attention, f"heads.{layer}": mixed, f"hidden.{layer + 1}": hidden}
        return outputs

    def _embed(self) -> str:
        """Word, position and type embeddings, summed and normalised: `[B*T, D]`."""
        graph = self._graph
        total = graph.op("Add", graph.rows("words", "tokens"), graph.rows("positions", "positions"))  # [B, T, D]
        total = graph.op("Add", total, graph.rows("types", "types"))
        flat = graph.op("Reshape", total, self._flat)
        return graph.norm(flat, "embedding_norm", self._config.norm_eps)

    def _layer(self, hidden: str, layer: int) -> str:
        """A whole layer, `[B*T, D]` to `[B*T, D]`."""
        q, k, v = self._parts(self._graph.linear(hidden, f"{layer}.qkv"), 3)
        return self._after(hidden, self._attend(q, k, v), layer)

    def _after(self, hidden: str, mixed: str, layer: int) -> str:
        """What follows attention in a layer; `hidden` and `mixed` are of the same places."""
        graph, epsilon = self._graph, self._config.norm_eps
        hidden = graph.op("Add", hidden, graph.linear(mixed, f"{layer}.output"))
        hidden = graph.norm(hidden, f"{layer}.attention_norm", epsilon)
        inner = graph.op("Gelu", graph.linear(hidden, f"{layer}.up"))  # exact, by erf
        return graph.norm(graph.op("Add", hidden, graph.linear(inner, f"{layer}.down")), f"{layer}.ffn_norm", epsilon)

    def _parts(self, stacked: str, count: int) -> list[str]:
        """`[N, count * D]` as so many `[N, D]`."""
        first = self._graph.op("Split", stacked, outputs=count, axis=1, num_outputs=count)
        return [first, *(f"{first}.{number}" for number in range(1, count))]

    def _attend(self, q: str, k: str, v: str) -> str:
        """Attention of `[B*Q, D]` queries within each row: `[B*Q, D]`."""
        rows = [self._graph.op("Reshape", part, self._split) for part in (q, k, v)]  # [B, Q or T, D]
        mixed = self._graph.op("MultiHeadAttention", *rows, domain=_FUSED, num_heads=self._config.heads)
        return self._graph.op("Reshape", mixed, self._flat)

    def _attend_openly(self, q: str, k: str, v: str) -> tuple[str, str]:
        """Attention in single steps: its probabilities `[B, H, T, T]`, and the result `[B*T, D]`."""
        graph = self._graph
        q, k, v = (graph.op("Reshape", part, self._heads) for part in (q, k, v))  # [B, T, H, D/H]
        scores = graph.op(
            "MatMul", graph.op("Transpose", q, perm=[0, 2, 1, 3]), graph.op("Transpose", k, perm=[0, 2, 3, 1])
        )  # [B, H, T, T]
        scale = graph.op("Constant", value_float=(self._config.width // self._config.heads) ** -0.5)
        shares = graph.op("Softmax", graph.op("Mul", scores, scale), axis=-1)
        mixed = graph.op("MatMul", shares, graph.op("Transpose", v, perm=[0, 2, 1, 3]))  # [B, H, T, D/H]
        return shares, graph.op("Reshape", graph.op("Transpose", mixed, perm=[0, 2, 1, 3]), self._flat)
