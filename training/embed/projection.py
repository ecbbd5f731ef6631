"""Vectors as points of a plane, for people to look at: each subset of the modalities by itself, and all of them together.

Together, vectors of images and of texts are seen as far apart as they are. N vectors, D width.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

By = Literal["pca", "tsne", "umap"]
MOST_POINTS: Mapping[By, int] = {"pca": 100_000, "umap": 10_000, "tsne": 5_000}
"""Of all subsets. The last two take a minute or two for so many."""
NEIGHBOURS = 30
"""t-SNE's perplexity and UMAP's neighbours: about so many points count as near each other."""


def drawn(count: int, seed: int, most: int) -> NDArray[np.int64]:
    """At most `most` of so many rows, ascending; the same ones for the same seed."""
    chosen = np.random.default_rng(seed).choice(count, min(count, most), replace=False)
    return np.sort(chosen).astype(np.int64)


def projected(
    vectors: Mapping[str, NDArray[np.float32]], rows: NDArray[np.int64], by: By, seed: int
) -> dict[str, Any]:
    """Coordinates of these rows, per name of vectors (N, D), as JSON has them; with several names also in one plane."""
    chosen = {name: each[rows].astype(np.float64) for name, each in vectors.items()}
    found: dict[str, Any] = {
        "seed": seed,
        "rows": rows.tolist(),
        "subsets": {name: _of_one(each, by, seed) for name, each in chosen.items()},
    }
    if len(chosen) > 1:
        found["together"] = _together(chosen, by, seed)
    return found


def _of_one(vectors: NDArray[np.float64], by: By, seed: int) -> dict[str, Any]:
    points, explained = principal(vectors)
    found: dict[str, Any] = {"pca": _listed(points), "explained": [round(each, 5) for each in explained]}
    if by != "pca" and len(vectors) > 3:
        draw = _tsne if by == "tsne" else _umap
        found[by] = _listed(draw(vectors.astype(np.float32), seed))
    return found


def _together(vectors: Mapping[str, NDArray[np.float64]], by: By, seed: int) -> dict[str, Any]:
    """The same of all vectors as one, told per name."""
    found = _of_one(np.concatenate(list(vectors.values())), by, seed)
    count = len(next(iter(vectors.values())))
    starts = {name: place * count for place, name in enumerate(vectors)}
    return {
        way: points
        if way == "explained"
        else {name: points[start : start + count] for name, start in starts.items()}
        for way, points in found.items()
    }


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


def _tsne(vectors: NDArray[np.float32], seed: int) -> NDArray[Any]:
    fitted = TSNE(perplexity=min(NEIGHBOURS, (len(vectors) - 1) / 3), random_state=seed, init="random")
    points: NDArray[Any] = fitted.fit_transform(vectors)
    return points


def _umap(vectors: NDArray[np.float32], seed: int) -> NDArray[Any]:
    """By UMAP (arXiv:1802.03426). It is compiled when it is first used, and kept where `training.data.compiled` says;
    where nothing can be kept, which it insists on, in a folder that goes again."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # For a variant not used here.
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        try:
            from umap import UMAP
        except RuntimeError:
            import numba

            numba.config.CACHE_DIR = folder  # type: ignore[attr-defined]
            from umap import UMAP

        neighbours = min(NEIGHBOURS, len(vectors) - 1)
        # Its usual start, by eigenvectors, gives up on few points and on those that fall apart.
        fitted = UMAP(n_neighbors=neighbours, init="pca", random_state=seed, n_jobs=1)
        points: NDArray[Any] = fitted.fit_transform(vectors)
    return points


def _listed(points: NDArray[Any]) -> list[list[float]]:
    """Five digits are finer than any screen."""
    scale = np.abs(points).max() or 1.0
    digits = int(5 - np.floor(np.log10(scale)))
    return [[round(float(x), digits), round(float(y), digits)] for x, y in points]
