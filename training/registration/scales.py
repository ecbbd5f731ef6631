"""Mean and deviation of what sequences and tables measure, over the training samples. N items, L steps, F features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.registration.found import Rows

PIECE_BYTES = 16 * 2**20
CONSTANT = 1e-6
"""A feature whose deviation is this small a part of its size does not change."""


class Scale(NamedTuple):
    mean_and_deviation: NDArray[np.float64]
    """(2, F). A constant feature's deviation is 1, so that it becomes 0 and not NaN."""
    constant: tuple[int, ...]


def scale_of(path: Path, rows: Rows) -> Scale:
    """Over these rows of a .npy file of float32 (N, L, F) or (N, F), padding left out: read twice, piece by piece."""
    n, total = 0, np.float64(0)
    for piece in _pieces(path, rows):
        n, total = n + len(piece), total + piece.sum(0, dtype=np.float64)
    mean = total / n
    squares = sum(np.square(piece - mean).sum(0) for piece in _pieces(path, rows))
    deviation = np.sqrt(squares / n)
    constant = deviation <= CONSTANT * np.maximum(np.abs(mean), CONSTANT)
    return Scale(np.stack([mean, np.where(constant, 1, deviation)]), tuple(np.flatnonzero(constant).tolist()))


def _pieces(path: Path, rows: Rows) -> Iterator[NDArray[np.float32]]:
    """(K, F): the rows' features, one step after the other."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        wanted = np.zeros(shape[0], bool)
        wanted[rows] = True
        row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
        at_once = max(1, PIECE_BYTES // max(1, row_bytes))
        for first in range(0, shape[0], at_once):
            count = min(at_once, shape[0] - first)
            piece = np.frombuffer(file.read(count * row_bytes), dtype).reshape(count, *shape[1:])
            chosen = piece[wanted[first : first + count]]
            if len(chosen):
                yield chosen if chosen.ndim == 2 else chosen[_is_there(chosen)]


def _is_there(sequences: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N, L): up to the last step that is not all zeros."""
    place = np.arange(1, sequences.shape[1] + 1)
    last = ((sequences != 0).any(2) * place).max(1, keepdims=True)
    there: NDArray[np.bool_] = place <= np.maximum(last, 1)
    return there
