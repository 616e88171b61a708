"""Logits of a fine-tuned model as what it says: tags and classes with their probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pubmedbert.model.head import Head

Prediction = dict[str, object]
"""What is said of one input; JSON can hold it."""


def tags(head: Head, logits: NDArray[np.float64]) -> tuple[list[str], NDArray[np.float64]]:
    """The most probable tag of each word, and its probability, from `[words, C]` logits."""
    shares = softmax(logits)
    return [head.labels[index] for index in shares.argmax(axis=-1)], shares.max(axis=-1)


def classes(head: Head, logits: NDArray[np.float64]) -> Prediction:
    """What `[C]` logits say of a text; see `pubmedbert.infer.labels.predict.Predictor.predict_texts`."""
    if head.problem == "regression":
        return {"score": float(logits[0])}
    shares = sigmoid(logits) if head.problem == "multi" else softmax(logits)
    scores = dict(zip(head.labels, shares.tolist(), strict=True))
    if head.problem == "multi":
        return {
            "labels": [label for label, logit in zip(head.labels, logits, strict=True) if logit > 0],
            "scores": scores,
        }
    label = head.labels[int(logits.argmax())]
    return {"label": label, "score": scores[label], "scores": scores}


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the last axis, of any shape."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """By way of tanh, which does not overflow."""
    shares: NDArray[np.float64] = (1 + np.tanh(logits / 2)) / 2
    return shares
