"""What each modality has to do with a fused embedding: the embeddings of what is left when modalities are taken away.

With v(T) the cosine between the embedding of the modalities T and the full one, v of none being 0 and v of all 1:

* the *share* of a modality is its Shapley value in v, what it adds on average over all orders in which modalities can come
  in; shares add up to 1, and one may be negative;
* with c_i = v({i}), not below 0, and c_(1) ≥ c_(2) ≥ … in order: *redundancy* is the least c_i, what any modality gives by
  itself; the *uniqueness* of the first is c_(1) − c_(2) and of all others 0; *synergy* is 1 − c_(1), what no modality gives
  by itself. Of two modalities they add up to 1; of three, c_(2) − c_(3), which two of them give and one does not, is left.

These are angles between vectors, not information: embeddings of single modalities often lie in a region of their own, which
makes every cosine smaller and synergy larger. Two samples of one model can be compared, two models cannot.
Of more than three modalities only v without each one is known: shares are then what each takes away, divided by their sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import factorial
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

MOST_IN_FULL = 3
"""Modalities of which all subsets are embedded."""

Subset = tuple[str, ...]


class SubsetCosine(TypedDict):
    modalities: list[str]
    cosine: float


class Explanation(TypedDict):
    subsets: list[SubsetCosine]
    shares: dict[str, float]
    redundancy: float | None
    uniqueness: dict[str, float] | None
    synergy: float | None


def subsets(names: Sequence[str]) -> list[Subset]:
    """The proper subsets to embed besides the whole, none of them empty: the smaller first, names in their order."""
    sizes = range(1, len(names)) if len(names) <= MOST_IN_FULL else (len(names) - 1,)
    return [each for size in sizes for each in combinations(names, size)]


def explained(
    names: Sequence[str], full: NDArray[np.float32], parts: Mapping[Subset, NDArray[np.float32]]
) -> Explanation:
    """Of one sample that has the modalities `names`: its embedding (D,), and those of all its `subsets`."""
    cosines = {subset: _cosine(full, vector) for subset, vector in parts.items()}
    told: list[SubsetCosine] = [
        {"modalities": list(subset), "cosine": cosine} for subset, cosine in cosines.items()
    ]
    if len(names) > MOST_IN_FULL:
        shares = _shares_of_losses(names, cosines)
        return Explanation(subsets=told, shares=shares, redundancy=None, uniqueness=None, synergy=None)
    value: dict[Subset, float] = {(): 0.0, **cosines, tuple(names): 1.0}
    alone = {name: max(0.0, value[(name,)]) for name in names}
    most = max(names, key=lambda name: alone[name])
    second = max((alone[name] for name in names if name != most), default=0.0)
    return Explanation(
        subsets=told,
        shares={name: _shapley(name, names, value) for name in names},
        redundancy=min(alone.values()) if len(names) > 1 else 0.0,
        uniqueness={name: alone[name] - second if name == most else 0.0 for name in names},
        synergy=1 - alone[most],
    )


def _shapley(name: str, names: Sequence[str], value: Mapping[Subset, float]) -> float:
    others = [each for each in names if each != name]
    total = 0.0
    for size in range(len(names)):
        weight = factorial(size) * factorial(len(names) - size - 1) / factorial(len(names))
        for before in combinations(others, size):
            after = tuple(each for each in names if each in before or each == name)
            total += weight * (value[after] - value[before])
    return total


def _shares_of_losses(names: Sequence[str], cosines: Mapping[Subset, float]) -> dict[str, float]:
    lost = {name: 1 - cosines[tuple(each for each in names if each != name)] for name in names}
    total = sum(lost.values())
    return {name: lost[name] / total if total > 0 else 1 / len(names) for name in names}


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """0 when either is nothing."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.clip(first @ second / size, -1, 1)) if size > 0 else 0.0
