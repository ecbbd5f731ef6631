"""The cache survives damage, broken-off builds and builders that come at the same time."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from training.data.array_cache import MANIFEST, cached_arrays

EXPECTED = np.arange(1000, dtype=np.uint8)


class Builder:
    def __init__(self) -> None:
        self.builds = 0

    def __call__(self, folder: Path) -> None:
        self.builds += 1
        time.sleep(0.05)
        np.save(folder / "numbers.npy", EXPECTED)


@pytest.fixture
def build() -> Builder:
    return Builder()


def test_arrays_are_built_once_and_then_read(tmp_path, build):
    for _ in range(3):
        assert np.array_equal(cached_arrays(tmp_path / "deep" / "a", build)["numbers"], EXPECTED)
    assert build.builds == 1


def test_a_changed_byte_is_noticed_and_the_arrays_are_built_again(tmp_path, build, caplog):
    cached_arrays(tmp_path / "a", build)
    with (tmp_path / "a" / "numbers.npy").open("r+b") as file:
        file.seek(500)
        file.write(b"\xff")
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(cached_arrays(tmp_path / "a", build)["numbers"], EXPECTED)
    assert build.builds == 2
    assert "numbers.npy" in caplog.text


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}", b'{"gone.npy": "00"}'])
def test_a_damaged_manifest_means_building_again(tmp_path, build, content):
    cached_arrays(tmp_path / "a", build)
    manifest = tmp_path / "a" / MANIFEST
    manifest.unlink() if content is None else manifest.write_bytes(content)
    assert np.array_equal(cached_arrays(tmp_path / "a", build)["numbers"], EXPECTED)
    assert build.builds == 2


def test_a_build_that_was_broken_off_leaves_nothing_that_counts(tmp_path, build):
    def break_off(folder: Path) -> None:
        np.save(folder / "numbers.npy", EXPECTED[:10])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_arrays(tmp_path / "a", break_off)
    assert not (tmp_path / "a").exists()
    assert np.array_equal(cached_arrays(tmp_path / "a", build)["numbers"], EXPECTED)


def test_of_builders_that_come_at_the_same_time_one_builds(tmp_path, build):
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda _: cached_arrays(tmp_path / "a", build)["numbers"], range(4)))
    assert build.builds == 1
    assert all(np.array_equal(each, EXPECTED) for each in read)


def test_writing_into_a_read_array_leaves_the_file_alone(tmp_path, build):
    cached_arrays(tmp_path / "a", build)["numbers"][:] = 0
    assert np.array_equal(cached_arrays(tmp_path / "a", build)["numbers"], EXPECTED)
    assert build.builds == 1
