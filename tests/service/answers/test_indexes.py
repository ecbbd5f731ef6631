"""What is found is what is nearest, held against a plain loop in float64; what is held in memory has a bound."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from models_store.embeddings import DamagedEmbeddingsError, EmbeddingsManifest
from service.answers.indexes import Floats, Index, Indexes, Metric, nearest
from service.errors import UnavailableError
from tests.service.embedded import written

METRICS: tuple[Metric, ...] = get_args(Metric)


def index_of(vectors: NDArray[np.float32]) -> Index:
    mean = vectors.mean(axis=0, dtype=np.float64)
    return Index(vectors, np.arange(len(vectors)), {}, mean)


def score(vector: list[float], query: list[float], metric: Metric) -> float:
    product = math.fsum(a * b for a, b in zip(vector, query, strict=True))
    match metric:
        case "dot":
            return product
        case "cosine":
            return product / (math.hypot(*vector) * math.hypot(*query))
        case "l2":
            return math.dist(vector, query)


def oracle(
    vectors: NDArray[np.float32], query: Floats, metric: Metric, mean: Floats
) -> list[tuple[float, int]]:
    """All rows with their scores, nearest first."""
    sign = 1 if metric == "l2" else -1
    scored = [
        (sign * score((vector - mean).tolist(), query.tolist(), metric), row)
        for row, vector in enumerate(vectors.astype(np.float64))
    ]
    return [(sign * value, row) for value, row in sorted(scored)]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("centered", [False, True])
def test_the_nearest_are_those_of_a_slow_loop(metric: Metric, centered: bool) -> None:
    random = np.random.default_rng(1)
    vectors = (random.standard_normal((400, 12)) * random.uniform(0.1, 9, (400, 1)) + 4).astype(np.float32)
    index = index_of(vectors)
    mean = index.mean if centered else np.zeros(12)
    for _ in range(5):
        query = random.standard_normal(12) * 3 + 2
        found = nearest(index, query, 20, metric, slice(0, 400), centered=centered)
        expected = oracle(vectors, query, metric, mean)[:20]
        assert found.rows.tolist() == [row for _, row in expected]
        assert np.allclose(found.scores, [value for value, _ in expected], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_only_rows_of_the_split_are_found_and_never_the_one_left_out(metric: Metric) -> None:
    vectors = np.random.default_rng(2).standard_normal((300, 5)).astype(np.float32)
    query = vectors[120].astype(np.float64)
    found = nearest(index_of(vectors), query, 99, metric, slice(100, 200), without=120)
    expected = [
        row for _, row in oracle(vectors, query, metric, np.zeros(5)) if 100 <= row < 200 and row != 120
    ]
    assert found.rows.tolist() == expected
    assert nearest(index_of(vectors), query, 1, "l2", slice(100, 200)).rows.tolist() == [120]


def test_those_that_float32_cannot_tell_apart_are_told_apart() -> None:
    random = np.random.default_rng(3)
    vectors = (1000 + random.standard_normal((200, 8)) * 1e-3).astype(np.float32)
    query = vectors[7].astype(np.float64)
    found = nearest(index_of(vectors), query, 1, "cosine", slice(0, 200), centered=False)
    assert found.rows[0] == 7
    assert found.scores[0] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("centered", [False, True])
def test_vectors_that_lie_nearly_the_same_way_are_told_apart(metric: Metric, centered: bool) -> None:
    """More of them than any number of spare candidates are one for float32."""
    random = np.random.default_rng(5)
    plane = random.standard_normal((3, 64))
    vectors = (plane[0] + 1e-3 * random.standard_normal((20_000, 2)) @ plane[1:]).astype(np.float32)
    index = index_of(vectors)
    origin = index.mean if centered else np.zeros(64)
    exact = vectors.astype(np.float64) - origin
    for row in (0, 7, 19_999):
        query = exact[row] + 1e-4 * plane[1]
        found = nearest(index, query, 10, metric, slice(0, len(vectors)), centered=centered)
        products = exact @ query
        near = {
            "dot": products,
            "cosine": products / np.linalg.norm(exact, axis=1),
            "l2": -np.linalg.norm(exact - query, axis=1),
        }[metric]
        assert set(found.rows) == set(np.argsort(-near, kind="stable")[:10])


def test_equals_stand_in_the_order_of_their_rows() -> None:
    vectors = np.tile(np.eye(2, dtype=np.float32), (100, 1))
    found = nearest(index_of(vectors), np.array([1.0, 0]), 60, "cosine", slice(0, 200))
    assert found.rows.tolist() == list(range(0, 120, 2))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_very_long_and_very_short_queries_overflow_nothing(metric: Metric, size: float) -> None:
    vectors = np.random.default_rng(4).standard_normal((64, 3)).astype(np.float32)
    query = np.array([1.0, 2, 3]) * size
    found = nearest(index_of(vectors), query, 5, metric, slice(0, 64))
    assert np.isfinite(found.scores).all()
    if metric != "l2":
        assert found.rows.tolist() == [row for _, row in oracle(vectors, query, metric, np.zeros(3))[:5]]


@pytest.mark.parametrize("size", [1e-300, 1e-170, 1e200])
def test_cosines_are_those_of_the_direction_whatever_the_length(size: float) -> None:
    vectors = np.random.default_rng(6).standard_normal((64, 3)).astype(np.float32)
    query = np.array([1.0, 2, 3])
    index = index_of(vectors)
    found, expected = (nearest(index, each, 64, "cosine", slice(0, 64)) for each in (query * size, query))
    assert found.rows.tolist() == expected.rows.tolist()
    assert np.allclose(found.scores, expected.scores, rtol=0, atol=1e-14)


def test_a_vector_of_zeros_is_near_to_nothing_by_cosine() -> None:
    vectors = np.array([[0, 0], [1, 0.5], [-1, 0]], dtype=np.float32)
    found = nearest(index_of(vectors), np.array([1.0, 0]), 3, "cosine", slice(0, 3))
    assert found.rows.tolist() == [1, 0, 2]
    assert found.scores[1] == 0


def opened(indexes: Indexes, folder: Path, manifest: EmbeddingsManifest, which: int = 0) -> Index:
    return indexes.open(folder, manifest, manifest.subsets[which])


def test_an_index_is_read_once_and_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    written(tmp_path / "a", seed=0)
    kept = [(tmp_path / name, written(tmp_path / name, seed=seed)[0]) for seed, name in enumerate("abc")]
    size = opened(Indexes(10**9), *kept[0]).size_bytes
    indexes = Indexes(2 * size)
    first = opened(indexes, *kept[0])
    assert opened(indexes, *kept[0]) is first
    second = opened(indexes, *kept[1])
    opened(indexes, *kept[0])
    opened(indexes, *kept[2])
    assert indexes.held_bytes == 2 * size
    assert opened(indexes, *kept[0]) is first
    assert opened(indexes, *kept[1]) is not second


def test_who_asks_for_one_index_does_not_wait_while_another_is_read(tmp_path: Path) -> None:
    kept = [(tmp_path / name, written(tmp_path / name, seed=seed)[0]) for seed, name in enumerate("ab")]
    indexes = Indexes(10**9)
    held = opened(indexes, *kept[0])
    slow = kept[1][0] / kept[1][1].subsets[0].file
    content = slow.read_bytes()
    slow.unlink()
    os.mkfifo(slow)  # whoever reads it waits until somebody writes
    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(opened, indexes, *kept[1]) for _ in range(2)]
        assert opened(indexes, *kept[0]) is held
        assert not any(each.done() for each in readers)
        slow.write_bytes(content)
        first, second = (each.result(10) for each in readers)
    assert first is second, "of those that ask for the same one reads it"


def test_what_is_larger_than_there_is_room_for_is_refused_with_the_setting_to_raise(tmp_path: Path) -> None:
    manifest, _ = written(tmp_path)
    with pytest.raises(UnavailableError, match="FUSEBOX_SEARCH_BYTES"):
        opened(Indexes(100), tmp_path, manifest)


@pytest.mark.parametrize("name", ["vectors-0.npy", "labels.npz"])
@pytest.mark.parametrize("spoil", [lambda whole: whole[:-1] + b"x", lambda whole: whole[:40], lambda _: None])
def test_a_file_that_is_not_what_was_written_is_not_searched_in(tmp_path: Path, name: str, spoil) -> None:
    manifest, _ = written(tmp_path)
    content = spoil((tmp_path / name).read_bytes())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DamagedEmbeddingsError, match=name):
        opened(Indexes(10**9), tmp_path, manifest)
