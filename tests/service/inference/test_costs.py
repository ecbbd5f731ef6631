"""How long waiting work will take is told from how long such work took."""

from __future__ import annotations

import hashlib
import threading
import time

import numpy as np
import pytest

from service.inference.costs import MOST_KINDS, Ahead, Costs, Kind, free_in_s


def of(*names: str) -> Kind:
    return "digest", "fp32", frozenset(names)


TEXT, IMAGE, PAIR = of("text"), of("image"), of("image", "text")


def test_what_was_never_measured_is_expected_to_take_no_time() -> None:
    assert Costs().expected_s({TEXT: 1_000}) == 0


def test_batches_of_any_mixture_tell_what_each_kind_costs() -> None:
    true = {TEXT: 0.001, IMAGE: 0.012, PAIR: 0.015}
    costs, rng = Costs(), np.random.default_rng(0)
    for _ in range(300):
        batch = [list(true)[each] for each in rng.integers(0, 3, size=rng.integers(1, 9))]
        costs.took(batch, sum(true[each] for each in batch) * rng.uniform(0.7, 1.3))
    for one, seconds in true.items():
        assert costs.expected_s({one: 1}) == pytest.approx(seconds, rel=0.35)
    assert costs.expected_s({TEXT: 10, PAIR: 20}) == pytest.approx(0.31, rel=0.25)


def test_a_machine_that_became_slower_or_faster_is_followed_within_some_batches() -> None:
    costs = Costs()
    for _ in range(5):
        costs.took([IMAGE] * 8, 8 * 0.01)
    for _ in range(12):
        costs.took([IMAGE] * 8, 8 * 0.04)
    assert costs.expected_s({IMAGE: 1}) == pytest.approx(0.04, rel=0.15)
    for _ in range(20):
        costs.took([IMAGE] * 8, 8 * 0.01)
    assert costs.expected_s({IMAGE: 1}) == pytest.approx(0.01, rel=0.15)


def test_a_batch_during_which_the_machine_stood_still_does_not_spoil_the_mean() -> None:
    costs = Costs()
    costs.took([IMAGE], 0.01)
    costs.took([IMAGE], 30.0)
    assert costs.expected_s({IMAGE: 1}) < 0.02


def test_kinds_that_were_not_seen_for_long_are_forgotten() -> None:
    costs = Costs()
    costs.took([TEXT], 1.0)
    for number in range(MOST_KINDS):
        costs.took([of(str(number))], 1.0)
    assert costs.expected_s({TEXT: 1}) == 0
    assert costs.expected_s({of("0"): 1}) == 1


@pytest.mark.parametrize(
    ("busy", "work", "free"),
    [([0, 0], 0, 0), ([3, 0], 0, 0), ([3, 1], 0, 1), ([0, 0], 4, 2), ([3, 1], 1, 2), ([3, 1], 4, 4), ([5], 2, 7)],
)  # fmt: skip
def test_work_goes_to_the_threads_that_are_free_first(busy: list[float], work: float, free: float) -> None:
    assert free_in_s(busy, work) == free


def test_a_batch_counts_less_the_longer_it_has_run() -> None:
    ahead = Ahead(threads=1)
    with ahead.busy([IMAGE]):
        time.sleep(0.1)
    ahead.came([IMAGE])
    assert ahead.free_in_s({}) >= 0.1
    ahead.left(IMAGE)
    with ahead.busy([IMAGE]):
        first = ahead.free_in_s({})
        time.sleep(0.03)
        assert ahead.free_in_s({}) <= first - 0.03
    assert ahead.free_in_s({}) == 0


def test_what_several_threads_computed_takes_one_of_them_longer() -> None:
    ahead, stop = Ahead(threads=1), threading.Event()

    def compute() -> None:
        while not stop.is_set():
            hashlib.sha256(bytes(2**20))  # which lets other threads run

    helpers = [threading.Thread(target=compute) for _ in range(2)]
    for each in helpers:
        each.start()
    began, cpu_began = time.monotonic(), time.process_time()
    with ahead.busy([IMAGE], width=4):
        time.sleep(0.3)
    took, cpu_s = time.monotonic() - began, time.process_time() - cpu_began
    stop.set()
    for each in helpers:
        each.join()
    assert ahead.free_in_s({IMAGE: 1}) == pytest.approx(max(took, cpu_s), rel=0.05)


def test_a_batch_that_fails_says_nothing_of_how_long_such_take() -> None:
    ahead = Ahead(threads=1)
    with pytest.raises(MemoryError), ahead.busy([IMAGE]):
        raise MemoryError
    assert ahead.free_in_s({IMAGE: 100}) == 0
