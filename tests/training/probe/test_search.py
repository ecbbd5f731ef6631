"""The search for a cost decides as the published one, whatever the scores, and asks for costs in few batches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.probe import sequential
from training.probe.search import COSTS, FINE_POINTS, search_cost


def searched(score: Callable[[float], float], *, fine: bool = True) -> tuple[float, list[list[float]]]:
    """The cost that is found, and the costs that were asked for at a time."""
    search, batches = search_cost(fine=fine), []
    costs = next(search)
    while True:
        batches.append(costs)
        try:
            costs = search.send([score(cost) for cost in costs])
        except StopIteration as stop:
            return stop.value, batches


@given(st.integers(0, 2**32), st.sampled_from([2, 3, 5, 1000]))
def test_the_cost_found_is_the_sequential_search_s_with_many_ties_and_few(seed: int, levels: int) -> None:
    """Scores are drawn from few levels or many, so that ties are everywhere or nowhere."""

    def score(cost: float) -> float:
        return float(np.random.default_rng([seed, np.float64(cost).view(np.uint64)]).integers(levels))

    assert searched(score)[0] == sequential.search_cost(score)
    assert searched(score, fine=False)[0] == sequential.search_cost(score, fine=False)


@pytest.mark.parametrize("peak", [-7.0, -6.0, -3.3, 0.0, 0.6, 4.1, 6.0, 7.0])
def test_a_single_peak_is_found_within_the_grid_s_spacing(peak: float) -> None:
    best, _ = searched(lambda cost: -abs(np.log10(cost) - peak))
    assert np.log10(best) == pytest.approx(np.clip(peak, -6, 6), abs=4 / 28)


def test_costs_are_asked_for_in_at_most_three_batches_and_none_twice() -> None:
    _, batches = searched(lambda cost: -abs(np.log10(cost) - 0.6))
    assert batches[0] == list(COSTS)
    assert batches[1] == pytest.approx(
        [0.1, 10], rel=1e-5
    )  # points 7 and 21 of 29; point 14 is known already
    assert len(batches) == 3
    asked = [cost for batch in batches for cost in batch]
    assert len(asked) == len(set(asked)) < len(COSTS) + FINE_POINTS


def test_on_ties_the_smallest_decade_wins() -> None:
    assert searched(lambda cost: 0.5, fine=False)[0] == COSTS[0]
