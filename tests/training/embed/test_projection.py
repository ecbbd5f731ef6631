"""Points to draw: the same ones for the same seed, along the directions in which vectors differ most."""

from __future__ import annotations

import numpy as np
import pytest

from training.embed.projection import MOST_POINTS, drawn, principal, projected


def test_points_are_drawn_once_each_and_are_the_same_for_the_same_seed() -> None:
    rows = drawn(20_000, 7)
    assert len(set(rows.tolist())) == len(rows) == MOST_POINTS
    assert np.array_equal(rows, drawn(20_000, 7))
    assert not np.array_equal(rows, drawn(20_000, 8))
    assert drawn(30, 7).tolist() == list(range(30))


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


def test_neighbours_stay_neighbours_in_both_ways_of_drawing() -> None:
    centres = np.repeat([[0.0] * 8, [20.0] + [0.0] * 7], 30, axis=0)
    vectors = (centres + np.random.default_rng(0).standard_normal((60, 8))).astype(np.float32)
    found = projected({"a": vectors}, np.arange(60), "tsne", 0)["subsets"]["a"]
    for way in ("pca", "tsne"):
        points = np.array(found[way])
        between = np.linalg.norm(points[:30].mean(0) - points[30:].mean(0))
        assert between > 2 * points[:30].std(), way
