"""What is compiled is read by later processes where it could be kept, and compiled by each where it could not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numba.core import config
from numpy.typing import NDArray

from training.data.compiled import kept

SIGNATURE = "void(float32[::1])"


def fill(out: NDArray[np.float32]) -> None:
    out[:] = 7


def filled_by(compiled: Callable[[NDArray[np.float32]], None]) -> bool:
    out = np.zeros(3, np.float32)
    compiled(out)
    return bool((out == 7).all())


@pytest.fixture
def only_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Lets what is compiled be kept in this folder and nowhere else."""

    def set_folder(folder: Path) -> None:
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
        monkeypatch.setenv("NUMBA_CACHE_LOCATOR_CLASSES", "UserProvidedCacheLocator")
        config.reload_config()

    yield set_folder
    monkeypatch.undo()
    config.reload_config()


def test_what_was_compiled_is_read_by_the_next(tmp_path: Path, only_in: Callable[[Path], None]) -> None:
    only_in(tmp_path)
    first, second = kept(SIGNATURE)(fill), kept(SIGNATURE)(fill)
    assert not first.stats.cache_hits
    assert second.stats.cache_hits
    assert filled_by(second)


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same(
    only_in: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    only_in(Path("/proc/nowhere"))
    with caplog.at_level(logging.WARNING):
        assert filled_by(kept(SIGNATURE)(fill))
    assert "fill is compiled again in each process" in caplog.text


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_what_a_power_cut_left_empty_is_not_believed(
    suffix: str, tmp_path: Path, only_in: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    only_in(tmp_path)
    kept(SIGNATURE)(fill)
    (damaged,) = tmp_path.rglob(f"*.{suffix}")
    damaged.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert filled_by(kept(SIGNATURE)(fill))
    assert "fill is compiled again in each process" in caplog.text
