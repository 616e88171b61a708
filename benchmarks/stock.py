"""What people use today: the transformers pipeline, and onnxruntime with transformers' model exported as it stands."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

THREADS = len(os.sched_getaffinity(0))
"""Of onnxruntime: all there are."""

Fill = Callable[[str], object]
"""A text with one [MASK] in, the five best answers out."""


def pipeline_fill(folder: Path) -> Fill:
    """The transformers fill-mask pipeline, in fp32 as it comes."""
    import transformers

    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        filled: Fill = transformers.pipeline("fill-mask", model=str(folder), top_k=5)
    return filled


def export_stock(folder: Path, precision: str) -> None:
    """Write `stock-fp32.onnx`, the standard export: all logits, an attention mask; or `stock-int8.onnx`, made of it."""
    exact, rounded = folder / "stock-fp32.onnx", folder / "stock-int8.onnx"
    if precision == "int8":
        _quantise(exact, rounded)
        return
    import torch
    import transformers

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
        tokens = torch.ones(2, 16, dtype=torch.long)
        names = ["input_ids", "attention_mask", "token_type_ids"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                (),
                str(exact),
                kwargs={"input_ids": tokens, "attention_mask": tokens, "token_type_ids": torch.zeros_like(tokens)},
                input_names=names,
                output_names=["logits"],
                dynamic_shapes={name: {0: torch.export.Dim("B"), 1: torch.export.Dim("T")} for name in names},
                dynamo=True,
            )


def _quantise(exact: Path, rounded: Path) -> None:
    """Dynamic int8. The export turns each matrix while it runs, and what is computed is not rounded: so that is folded.

    Raises:
        RuntimeError: a product with a matrix stayed in fp32, which would be slower than what people use.
    """
    import onnx
    import onnxruntime
    from onnxruntime.quantization import quantize_dynamic

    folded = rounded.with_name("stock-folded.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", folded.name + ".data")
    onnxruntime.InferenceSession(str(exact), options, providers=["CPUExecutionProvider"])
    quantize_dynamic(folded, rounded, per_channel=True)
    graph = onnx.load(rounded, load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    if any(node.op_type in ("MatMul", "Gemm") and node.input[1] in stored for node in graph.node):
        raise RuntimeError("a matrix of the standard export was not rounded")


def stock_fill(folder: Path, precision: str) -> Fill:
    """The standard export on onnxruntime, with its own defaults; tokenizer and form of answers as ours."""
    import onnxruntime

    from pubmedbert.infer.tokenizer import ModelTokenizer

    tokenizer = ModelTokenizer(folder, 2**31)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session: Any = onnxruntime.InferenceSession(
        str(folder / f"stock-{precision}.onnx"), options, providers=["CPUExecutionProvider"]
    )
    wanted = {entry.name for entry in session.get_inputs()}

    def fill(text: str) -> object:
        row = tokenizer.encode(text)
        tokens = np.array([row], dtype=np.int64)  # [1, T]
        given = {
            "input_ids": tokens,
            "attention_mask": np.ones_like(tokens),
            "token_type_ids": np.zeros_like(tokens),
        }
        (logits,) = session.run(None, {name: given[name] for name in wanted})  # [1, T, V]
        scores = logits[0, row.index(tokenizer.mask_id)]
        powers = np.exp(scores - scores.max())
        best = np.argpartition(-powers, 5)[:5]
        return [(tokenizer.decode([int(token)]), powers[token] / powers.sum()) for token in best]

    return fill
