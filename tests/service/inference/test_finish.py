"""Vectors as they were asked for."""

from __future__ import annotations

import numpy as np
import pytest

from service.inference.finish import finish


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e20, 8e37])
def test_numbers_of_any_size_have_length_one(size: float) -> None:
    vectors = np.array([[3, 4, 0], [0, 0, -1]], dtype=np.float32) * np.float32(size)
    assert finish(vectors, None, normalize=True) == pytest.approx(np.array([[0.6, 0.8, 0], [0, 0, -1]]))
