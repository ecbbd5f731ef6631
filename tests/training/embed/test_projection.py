"""Points to draw: the same ones for the same seed, along the directions in which vectors differ most."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from training.embed.projection import By, drawn, principal, projected


def test_points_are_drawn_once_each_and_are_the_same_for_the_same_seed() -> None:
    rows = drawn(20_000, 7, 500)
    assert len(set(rows.tolist())) == len(rows) == 500
    assert np.array_equal(rows, drawn(20_000, 7, 500))
    assert not np.array_equal(rows, drawn(20_000, 8, 500))
    assert drawn(30, 7, 500).tolist() == list(range(30))


def test_the_principal_directions_are_those_of_a_singular_value_decomposition() -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 6)) * [1, 5, 1, 1, 9, 1] + 3
    points, explained = principal(vectors)
    moved = vectors - vectors.mean(axis=0)
    left, values, _ = np.linalg.svd(moved, full_matrices=False)
    assert np.allclose(np.abs(points), np.abs(left[:, :2] * values[:2]))
    assert explained == pytest.approx((values**2 / (values**2).sum())[:2])


@pytest.mark.parametrize("shape", [(1, 4), (2, 4), (5, 1), (3, 3)])
def test_few_vectors_or_equal_ones_are_points_too(shape: tuple[int, int]) -> None:
    for vectors in (np.ones(shape), np.arange(np.prod(shape)).reshape(shape)):
        found = projected({"a": vectors.astype(np.float32)}, np.arange(shape[0]), "tsne", 0)
        points = np.array(found["subsets"]["a"]["pca"])
        assert points.shape == (shape[0], 2)
        assert np.isfinite(points).all()


def test_what_lies_apart_is_drawn_apart_in_one_plane() -> None:
    images = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    texts = images + 30
    found = projected({"image": images, "text": texts}, np.arange(5, 25), "pca", 0)
    one, other = (np.array(found["together"]["pca"][name]) for name in ("image", "text"))
    whole, explained = principal(np.concatenate([images[5:25], texts[5:25]]).astype(np.float64))
    assert np.allclose(np.concatenate([one, other]), whole, atol=1e-3)
    assert found["together"]["explained"] == pytest.approx(explained, abs=1e-5)
    assert abs(one.mean() - other.mean()) > 20
    assert np.allclose(found["subsets"]["image"]["pca"], found["subsets"]["text"]["pca"], atol=1e-3), (
        "of each by itself the distance is not seen"
    )


@pytest.mark.parametrize("by", ["tsne", pytest.param("umap", marks=pytest.mark.slow)])
def test_neighbours_stay_neighbours_however_they_are_drawn(by: By) -> None:
    centres = np.repeat([[0.0] * 8, [20.0] + [0.0] * 7], 30, axis=0)
    vectors = (centres + np.random.default_rng(0).standard_normal((60, 8))).astype(np.float32)
    found = projected({"a": vectors}, np.arange(60), by, 0)["subsets"]["a"]
    for way in ("pca", by):
        points = np.array(found[way])
        between = np.linalg.norm(points[:30].mean(0) - points[30:].mean(0))
        assert between > 2 * points[:30].std(), way


@pytest.mark.slow
def test_a_place_to_keep_what_is_compiled_is_no_condition() -> None:
    """In a process of its own, where numba may keep things only in a folder that nobody has named."""
    code = """
import numpy as np
from training.embed.projection import projected
vectors = np.eye(40, dtype=np.float32)
print(len(projected({"a": vectors}, np.arange(40), "umap", 0)["subsets"]["a"]["umap"]))
"""
    named = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    nowhere = {"NUMBA_CACHE_LOCATOR_CLASSES": "numba.core.caching.UserProvidedCacheLocator"}
    asked = subprocess.run(
        [sys.executable, "-c", code], env=named | nowhere, capture_output=True, text=True, check=False
    )
    assert asked.stdout == "40\n", asked.stderr
