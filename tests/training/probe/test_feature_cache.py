"""Embeddings are computed once per key, whole or not at all, and the folder stays below its size."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from training.probe import feature_cache
from training.probe.feature_cache import cached


def counting(value: float, rows: int = 10) -> tuple[Callable[[], Tensor], list[int]]:
    calls: list[int] = []

    def compute() -> Tensor:
        calls.append(1)
        return torch.full((rows, 4), value)

    return compute, calls


def test_what_was_computed_is_not_computed_again(tmp_path: Path) -> None:
    compute, calls = counting(2.5)
    first, again = (cached(tmp_path / "new", ("sha", "train"), compute) for _ in range(2))
    assert torch.equal(first, again)
    assert len(calls) == 1


def test_another_key_is_other_embeddings(tmp_path: Path) -> None:
    for value, key in enumerate([("a", "train"), ("a", "test"), ("b", "train"), ("a", "train", 1)]):
        cached(tmp_path, key, counting(float(value))[0])
    assert cached(tmp_path, ("a", "test"), counting(9)[0])[0, 0] == 1


@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda content: content[:-8] + b"12345678"]
)
def test_a_damaged_file_is_computed_anew(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    cached(tmp_path, ("key",), counting(1)[0])
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    compute, calls = counting(1)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(cached(tmp_path, ("key",), compute), torch.ones(10, 4))
    assert "computed anew" in caplog.text
    assert len(calls) == 1
    assert torch.equal(cached(tmp_path, ("key",), counting(5)[0]), torch.ones(10, 4))


def test_the_least_recently_used_are_forgotten_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        cached(tmp_path, (name,), counting(1)[0])
    size = next(tmp_path.iterdir()).stat().st_size
    for age, path in enumerate(sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime)):
        os.utime(path, (1000 + age, 1000 + age))
    cached(tmp_path, ("first",), counting(2)[0])  # used again
    monkeypatch.setattr(feature_cache, "KEPT_BYTES", 2 * size)
    cached(tmp_path, ("third",), counting(3)[0])
    assert len(list(tmp_path.iterdir())) == 2
    assert cached(tmp_path, ("first",), counting(9)[0])[0, 0] == 1
    compute, calls = counting(7)
    cached(tmp_path, ("second",), compute)
    assert calls


def test_embeddings_larger_than_the_folder_may_be_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "KEPT_BYTES", 100)
    assert cached(tmp_path, ("key",), counting(1)[0]).shape == (10, 4)
    assert not list(tmp_path.iterdir())
