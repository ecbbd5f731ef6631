"""Which cost: seven decades, then twenty-nine points around the best of them, halved until one is left.

The decisions are those of the published search, which fits one cost after the other. Here costs are fitted together, a
few more than the decisions turn out to need, and then looked up.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np

COSTS = tuple(10.0**power for power in (-6, -4, -2, 0, 2, 4, 6))
FINE_POINTS = 29

Scores = Sequence[float]
Search = Generator[list[float], Scores, float]


def search_cost(*, fine: bool = True) -> Search:
    """Yields costs to score, none twice, and is sent their scores; returns the best cost.

    Of equally good costs wins the one that the published search would have come to first.
    """
    known: dict[float, float] = {}
    asked: dict[float, float] = {}  # in the order of the published search

    def score(costs: Sequence[float]) -> Generator[list[float], Scores, None]:
        new = [cost for cost in dict.fromkeys(costs) if cost not in known]
        if new:
            known.update(zip(new, (yield new), strict=True))

    def ask(cost: float) -> float:
        return asked.setdefault(cost, known[cost])

    yield from score(COSTS)
    best = max(COSTS, key=ask)
    if fine:
        left = _around(best)
        yield from score([left[at] for at in _quarters(left)])
        while len(left) > 1:
            at = int(np.argmax([ask(left[quarter]) for quarter in _quarters(left)]))
            left = _part(left, at)
            yield from score(left)  # all that may still be asked for
        ask(left[0])
    return max(asked, key=lambda cost: asked[cost])


def _around(cost: float) -> list[float]:
    """Two decades to either side, as float32, within the range of the seven."""
    centre = np.log10(cost)
    grid = np.logspace(centre - 2, centre + 2, FINE_POINTS, dtype=np.float32).clip(COSTS[0], COSTS[-1])
    return [float(each) for each in grid]


def _quarters(costs: Sequence[float]) -> tuple[int, int, int]:
    return len(costs) // 4, len(costs) // 2, -len(costs) // 4


def _part(costs: list[float], best: int) -> list[float]:
    """What is left around the best of the three quarter points."""
    left, middle, right = _quarters(costs)
    return [costs[:middle], costs[left:right], costs[middle:]][best]
