"""What heads say of embeddings, as a client is told it. B samples, D width, K outputs.

An embedding is the network's own, neither shortened nor scaled to length 1: what the head was fitted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_store.heads import Head, HeadManifest
from service.errors import UnavailableError

TOLD_UNASKED, MOST_UNASKED = 100, 1_000
"""Classes or labels that are told when nobody has said how many: all up to the second, of more the first."""
MOST_LOGITS = 1 << 22
"""That are computed at a time."""

Doubles = NDArray[np.float64]
Prediction = dict[str, Any]


def told_of(head: HeadManifest, top: int | None) -> int:
    """How many numbers there will be for each sample."""
    if head.type == "regression":
        return head.outputs
    return min(head.outputs, top or (head.outputs if head.outputs <= MOST_UNASKED else TOLD_UNASKED))


def predict(head: Head, vectors: NDArray[np.float32], top: int | None) -> list[Prediction]:
    """Of each embedding (B, D). `top`: tell so many of the most probable, in that order.

    Raises UnavailableError when the answer is not finite.
    """
    part = max(1, MOST_LOGITS // head.manifest.outputs)
    parts = [vectors[at : at + part] for at in range(0, len(vectors), part)]
    return [told for each in parts for told in _told(head, logits(head, each), top)]


def logits(head: Head, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of classes or labels, or values: (B, K)."""
    with np.errstate(over="ignore", invalid="ignore"):
        answers: NDArray[np.float32] = vectors @ head.weight + head.bias
    if not np.isfinite(answers).all():
        raise UnavailableError(
            "head_not_finite",
            f"the head {head.manifest.task!r} gives numbers that are not finite for this; name others",
        )
    return answers


def _told(head: Head, answers: NDArray[np.float32], top: int | None) -> Sequence[Prediction]:
    manifest, each = head.manifest, answers.astype(np.float64)
    match manifest.type:
        case "class":
            best = each.argmax(axis=1)
            return [
                {"type": "class", "label": _name(manifest, label), **_probable(manifest, row, top)}
                for label, row in zip(best.tolist(), softmax(each), strict=True)
            ]
        case "multilabel":
            return [
                {
                    "type": "multilabel",
                    "labels": [_name(manifest, label) for label in np.flatnonzero(row > 0.5).tolist()],
                    **_probable(manifest, row, top),
                }
                for row in sigmoid(each)
            ]
        case "regression":
            return [{"type": "regression", "values": row} for row in each.tolist()]


def _probable(manifest: HeadManifest, probabilities: Doubles, top: int | None) -> Prediction:
    """(K,) by name: all in the order of the outputs, or the most probable, those first."""
    count = told_of(manifest, top)
    if top is None and count == manifest.outputs:
        kept = np.arange(count)
    else:
        kept = np.argsort(-probabilities, kind="stable")[:count]
    named = zip(kept.tolist(), probabilities[kept].tolist(), strict=True)
    return {
        "probabilities": {_name(manifest, output): probability for output, probability in named},
        "left_out": manifest.outputs - count,
    }


def softmax(logits: Doubles) -> Doubles:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Doubles = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: Doubles) -> Doubles:
    """Without overflow on either side."""
    small = np.exp(-np.abs(logits))
    probabilities: Doubles = np.where(logits >= 0, 1, small) / (1 + small)
    return probabilities


def _name(manifest: HeadManifest, output: int) -> str:
    return str(output) if manifest.names is None else manifest.names[output]
