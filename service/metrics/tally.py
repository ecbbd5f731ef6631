"""What is remembered of many neighbouring points: of a bucket's, and of a whole series'."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

WIDTHS = (16, 256, 4096)
"""Of buckets, in points."""
MOST = sys.float_info.max


@dataclass(slots=True)
class Tally:
    """Points merged, one by one, so that it makes no difference in how many parts they come."""

    n: int = 0
    n_nonfinite: int = 0
    step0: int | None = None
    step1: int | None = None
    vfirst: float | None = None
    vlast: float | None = None
    vmin: float | None = None
    argmin_step: int | None = None
    """The first step with the smallest value."""
    vmax: float | None = None
    argmax_step: int | None = None
    vsum: float = 0.0
    vsumsq: float = 0.0

    def add(self, steps: Sequence[int], values: Sequence[float | None]) -> None:
        """At least one point, later than all before; None stands for a value that is not finite."""
        if not self.n:
            self.step0, self.vfirst = steps[0], values[0]
        self.step1, self.vlast = steps[-1], values[-1]
        self.n += len(steps)
        finite = [value for value in values if value is not None]
        self.n_nonfinite += len(steps) - len(finite)
        if not finite:
            return
        low, high = min(finite), max(finite)
        if self.vmin is None or low < self.vmin:
            self.vmin, self.argmin_step = low, steps[values.index(low)]
        if self.vmax is None or high > self.vmax:
            self.vmax, self.argmax_step = high, steps[values.index(high)]
        self.vsum, self.vsumsq = _sums(finite, self.vsum, self.vsumsq)

    def add_tally(self, later: Tally) -> None:
        """Its points come after all that were added so far. Sums are rounded in another order than `add` would."""
        if not self.n:
            self.step0, self.vfirst = later.step0, later.vfirst
        self.step1, self.vlast = later.step1, later.vlast
        self.n += later.n
        self.n_nonfinite += later.n_nonfinite
        if later.vmin is not None and (self.vmin is None or later.vmin < self.vmin):
            self.vmin, self.argmin_step = later.vmin, later.argmin_step
        if later.vmax is not None and (self.vmax is None or later.vmax > self.vmax):
            self.vmax, self.argmax_step = later.vmax, later.argmax_step
        self.vsum, self.vsumsq = _bounded(self.vsum + later.vsum), _bounded(self.vsumsq + later.vsumsq)


def _sums(finite: Sequence[float], total: float, squares: float) -> tuple[float, float]:
    new_total, new_squares = total, squares
    for value in finite:  # `sum` would round in another order, and so depend on the parts
        new_total += value
        new_squares += value * value
    if math.isfinite(new_total) and math.isfinite(new_squares):
        return new_total, new_squares
    for value in finite:
        total, squares = _bounded(total + value), _bounded(squares + value * value)
    return total, squares


def _bounded(total: float) -> float:
    """A sum may outgrow a double though no value does. JSON and charts have no infinity: it stays at the largest."""
    return min(max(total, -MOST), MOST)
