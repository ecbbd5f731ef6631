"""The cache remembers what was asked for lately, and never takes more memory than it was given."""

from __future__ import annotations

import tracemalloc

import numpy as np

from service.inference.cache import Cache, Known
from service.inference.keys import outline
from service.inference.prepare import Sample


def key(number: int) -> bytes:
    return number.to_bytes(32, "little")


def vector(number: int, width: int = 256) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full(width, number, np.float32)


def known(number: int) -> Known:
    return Known(key(number), outline(Sample({"image": vector(0), "text": np.arange(number % 9)})))


def test_what_was_not_asked_for_the_longest_leaves_first() -> None:
    cache = Cache(3 * (1024 + 400))
    for number in range(3):
        cache.keep_vector(key(number), vector(number))
    assert cache.vector(key(0)) is not None
    cache.keep_vector(key(3), vector(3))
    there = [number for number in range(4) if cache.vector(key(number)) is not None]
    assert there == [0, 2, 3]
    found = cache.vector(key(3))
    assert found is not None
    assert np.array_equal(found, vector(3))


def test_what_it_says_it_takes_is_what_it_takes() -> None:
    cache = Cache(2**20)
    tracemalloc.start()
    for number in range(800):
        cache.keep_vector(key(number), vector(number)[:])
        cache.keep_known(key(100_000 + number), known(number))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.9 * 2**20 < cache.held_bytes <= 2**20
    assert 0.7 < taken / cache.held_bytes < 1.3


def test_what_is_kept_twice_is_counted_once() -> None:
    cache = Cache(2**20)
    cache.keep_vector(key(1), vector(1))
    once = cache.held_bytes
    for _ in range(100):
        cache.keep_vector(key(1), vector(1))
    assert cache.held_bytes == once
    cache.keep_vector(key(1), vector(1, width=512))
    assert cache.held_bytes == once + 4 * 256


def test_a_row_does_not_keep_its_batch_in_memory() -> None:
    cache, batch = Cache(2**20), np.zeros((32, 256), np.float32)
    cache.keep_vector(key(1), batch[3])
    found = cache.vector(key(1))
    assert found is not None
    assert found.base is None


def test_without_room_nothing_is_remembered() -> None:
    for cache in (Cache(0), Cache(100)):
        cache.keep_vector(key(1), vector(1))
        cache.keep_known(key(2), known(2))
        assert (cache.vector(key(1)), cache.known(key(2)), cache.held_bytes) == (None, None, 0)
