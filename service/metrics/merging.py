"""Rows of a curve as arrays, and neighbours merged into fewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.metrics.tally import MOST

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FARTHEST = 1e280
"""Numbers up to it, and down to its inverse, may be rounded without leaving what a double holds."""
POWERS = np.array([float(f"1e{power}") for power in range(309)])


@dataclass
class Columns:
    """Neighbouring points or buckets by rising steps, all columns (R,). NaN where no point of a row is finite."""

    step0: Ints
    step1: Ints
    finite: Ints
    """Points of the row with a finite value."""
    total: Floats
    """Their sum."""
    low: Floats
    high: Floats

    def merged(self, together: int) -> Columns:
        """Each `together` rows as one; the last may be of fewer."""
        rows = len(self.step0)
        starts = np.arange(0, rows, min(together, rows))
        ends = np.minimum(starts + together, rows) - 1
        finite = np.add.reduceat(self.finite, starts)
        with np.errstate(over="ignore", invalid="ignore"):
            total = np.add.reduceat(self.total, starts)
        low, high = np.fmin.reduceat(self.low, starts), np.fmax.reduceat(self.high, starts)
        # A sum may outgrow a double though no value does.
        total = np.where(np.isnan(total), low / 2 + high / 2, np.clip(total, -MOST, MOST))
        total[finite == 0] = 0
        return Columns(self.step0[starts], self.step1[ends], finite, total, low, high)

    def put(self, place: int, row: Columns | None) -> None:
        """Another row at this place; None: one that stands for no point."""
        for name, column in vars(self).items():
            column[place] = getattr(row, name)[0] if row else 0
        if row is None:
            self.step0[place], self.step1[place] = 1, 0

    def without_empty(self) -> Columns:
        there = self.step0 <= self.step1
        return self if there.all() else Columns(*(column[there] for column in vars(self).values()))

    def middles(self) -> list[int]:
        middle: list[int] = (self.step0 + (self.step1 - self.step0) // 2).tolist()
        return middle

    def means(self) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.total / self.finite


def of_points(rows: Sequence[Any]) -> Columns:
    """Rows of (series, step, value)."""
    _, steps, values = zip(*rows, strict=True)
    return _of_columns(_ints(steps), _floats(values))


def of_packed(steps: bytes, values: bytes) -> Columns:
    """Numbers of 8 bytes, the greatest first, as PostgreSQL sends them; NaN for a value that was not finite."""
    return _of_columns(
        np.frombuffer(steps, ">i8").astype(np.int64), np.frombuffer(values, ">f8").astype(np.float64)
    )


def _of_columns(step: Ints, value: Floats) -> Columns:
    finite = ~np.isnan(value)
    return Columns(step, step, finite.astype(np.int64), np.where(finite, value, 0.0), value, value)


def of_buckets(rows: Sequence[Any]) -> Columns:
    """Rows of (series, first step, last step, finite points, their sum, low, high)."""
    _, step0, step1, finite, total, low, high = zip(*rows, strict=True)
    return Columns(_ints(step0), _ints(step1), _ints(finite), _floats(total), _floats(low), _floats(high))


def _ints(column: Sequence[int]) -> Ints:
    return np.array(column, np.int64)


def _floats(column: Sequence[float | None]) -> Floats:
    return np.array(column, np.float64)  # None becomes NaN


def rounded(column: Floats, digits: int) -> Floats:
    """To so many significant digits, of which a number then is written. What is next to zero or to the largest stays as it is."""
    size = np.abs(column)
    plain = (size > 1 / FARTHEST) & (size < FARTHEST)  # of NaN neither holds
    places = digits - 1 - np.floor(np.log10(size[plain])).astype(np.int64)
    # Both ways with a power that is a whole number: 0.001 is none that a double holds.
    up, down = POWERS[np.maximum(places, 0)], POWERS[np.maximum(-places, 0)]
    made = column.copy()
    made[plain] = np.rint(column[plain] * up / down) * down / up
    return made


def with_gaps(column: Floats) -> list[float | None]:
    """None where there is no number, as JSON has it."""
    values: list[float | None] = column.tolist()
    if np.isnan(column).any():
        return [None if value != value else value for value in values]
    return values
