"""In what forms a model is computed."""

from __future__ import annotations

from typing import Literal

Precision = Literal["fp32", "int8"]
Output = Literal["hidden", "logits", "heads", "views"]
"""What a graph computes: states at the wanted places, logits there, what the last layer's heads give there, or the
attentions and states of all layers."""
