"""Vectors as points of a plane, for people to look at. N vectors, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

MOST_POINTS = 5_000
NEIGHBOURS = 30
"""t-SNE's perplexity: about so many points count as near each other."""


def drawn(count: int, seed: int) -> NDArray[np.int64]:
    """At most `MOST_POINTS` of so many rows, ascending; the same ones for the same seed."""
    chosen = np.random.default_rng(seed).choice(count, min(count, MOST_POINTS), replace=False)
    return np.sort(chosen).astype(np.int64)


def projected(
    vectors: Mapping[str, NDArray[np.float32]], rows: NDArray[np.int64], by: Literal["pca", "tsne"], seed: int
) -> dict[str, Any]:
    """Coordinates of these rows, per name of vectors (N, D), as JSON has them."""
    return {
        "seed": seed,
        "rows": rows.tolist(),
        "subsets": {name: _of_one(each[rows].astype(np.float64), by, seed) for name, each in vectors.items()},
    }


def _of_one(vectors: NDArray[np.float64], by: Literal["pca", "tsne"], seed: int) -> dict[str, Any]:
    points, explained = principal(vectors)
    found: dict[str, Any] = {"pca": _listed(points), "explained": [round(each, 5) for each in explained]}
    if by == "tsne" and len(vectors) > 3:
        tsne = TSNE(perplexity=min(NEIGHBOURS, (len(vectors) - 1) / 3), random_state=seed, init="random")
        found["tsne"] = _listed(tsne.fit_transform(vectors.astype(np.float32)))
    return found


def principal(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[float]]:
    """The two directions in which vectors (N, D) differ most: coordinates (N, 2), and their shares of the variance.

    Where there are fewer directions, the rest is zeros.
    """
    points = np.zeros((len(vectors), 2))
    count = min(2, *vectors.shape)
    if not vectors.var(axis=0).any():  # there is only one point, however often
        return points, [0.0, 0.0]
    fitted = PCA(count, svd_solver="covariance_eigh")
    points[:, :count] = fitted.fit_transform(vectors)
    return points, [*fitted.explained_variance_ratio_.tolist(), 0.0][:2]


def _listed(points: NDArray[Any]) -> list[list[float]]:
    """Five digits are finer than any screen."""
    scale = np.abs(points).max() or 1.0
    digits = int(5 - np.floor(np.log10(scale)))
    return [[round(float(x), digits), round(float(y), digits)] for x, y in points]
