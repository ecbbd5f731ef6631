"""Intervals, tests and verdicts: against numbers worked out by hand, in textbooks, and by another library."""

from __future__ import annotations

import math
import re
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student
from scipy.stats import ttest_rel

from service.results.statistics import (
    Compared,
    compared,
    holm,
    interval,
    marks,
    paired,
    spread,
    verdict,
)

SLEEP = (
    {1: 0.7, 2: -1.6, 3: -0.2, 4: -1.2, 5: -0.1, 6: 3.4, 7: 3.7, 8: 0.8, 9: 0.0, 10: 2.0},
    {1: 1.9, 2: 0.8, 3: 1.1, 4: 0.1, 5: -0.1, 6: 4.4, 7: 5.5, 8: 1.6, 9: 4.6, 10: 3.4},
)
"""Hours of sleep gained by ten people with each of two drugs: the data of Student's own paper (1908)."""
SCORES = st.dictionaries(st.integers(0, 9), st.floats(0, 1, width=32), min_size=1)


def test_the_spread_has_one_less_than_n_in_the_denominator() -> None:
    assert spread([0.5, 0.7, 0.9]) == pytest.approx(0.2, rel=1e-14)  # ((0.2² + 0² + 0.2²) / 2) ** 0.5
    assert spread([0.5]) is spread([]) is None


def test_an_interval_is_students() -> None:
    low, high = interval([1, 2, 3, 4, 5]) or (0, 0)
    assert (low, high) == pytest.approx((1.036756838522439, 4.963243161477561), rel=1e-13)  # t = 2.776445105
    low, high = interval([0, 1]) or (0, 0)
    assert high - 0.5 == pytest.approx(math.tan(0.475 * math.pi) / 2, rel=1e-12)  # with one degree: Cauchy's
    assert interval([3.0]) is None
    assert interval([0.25, 0.25]) == (0.25, 0.25)


def test_a_paired_test_gives_students_own_example() -> None:
    test = paired(*SLEEP)
    assert test.n_common == 10
    assert test.difference == pytest.approx(-1.58, rel=1e-13)
    assert test.interval == pytest.approx((-2.4598858, -0.7001142), abs=5e-8)
    assert test.p == pytest.approx(0.00283289, rel=1e-5)


def test_two_pairs_can_be_worked_out_by_hand() -> None:
    test = paired({1: 1.0, 2: 4.0}, {1: 0.0, 2: 1.0})  # differences 1 and 3: t = 2 / (√2 / √2) = 2
    assert test.p == pytest.approx(1 - 2 / math.pi * math.atan(2), rel=1e-13)


@pytest.mark.parametrize("n", [2, 3, 5, 40])
def test_paired_tests_and_intervals_are_those_of_another_library(n: int) -> None:
    one, other = np.random.default_rng(n).normal([[0.7], [0.71]], 0.02, (2, n))
    ours = paired(dict(enumerate(one)), dict(enumerate(other)))
    theirs = ttest_rel(one, other)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-10)
    assert ours.interval == pytest.approx(tuple(theirs.confidence_interval()), rel=1e-10)
    scale = one.std(ddof=1) / n**0.5
    assert interval(list(one)) == pytest.approx(student.interval(0.95, n - 1, one.mean(), scale), rel=1e-10)


def test_only_seeds_that_both_have_are_paired() -> None:
    ours, theirs = {1: 0.5, 2: 0.7, 3: 0.4}, {3: 0.1, 2: 0.6, 4: 0.9}
    assert paired(ours, theirs) == paired({2: 0.7, 3: 0.4}, {2: 0.6, 3: 0.1})
    assert paired({1: 0.5}, {2: 0.5}) == (0, None, None, None)
    assert paired({1: 0.5}, {1: 0.25}) == (1, 0.25, None, None)


def test_equal_values_do_not_differ_and_equal_differences_say_nothing() -> None:
    same = {1: 0.1, 2: 0.7, 3: 0.3}
    assert paired(same, same) == (3, 0.0, (0.0, 0.0), 1.0)
    test = paired({seed: value + 0.1 for seed, value in same.items()}, same)  # but for rounding
    assert test.difference == pytest.approx(0.1)
    assert test.p is None


def test_holm_multiplies_the_smallest_most_and_never_turns_the_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], rel=1e-14)
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([None, 0.02, None]) == [None, 0.02, None]
    assert holm([]) == []


def test_all_pairs_are_compared_in_both_directions_and_corrected_together() -> None:
    one, two = {1: 0.5, 2: 0.6, 3: 0.55}, {1: 0.4, 2: 0.56, 3: 0.47}
    three = {1: 0.1, 2: 0.18, 3: 0.12}
    tests = compared({"one": one, "two": two, "three": three})
    assert len(tests) == 6
    ps = {pair: test.p for pair, test in tests.items()}
    assert ps["one", "three"] == ps["three", "one"] == paired(one, three).p
    forth, back = tests["one", "two"], tests["two", "one"]
    assert forth.difference is not None
    assert back.difference == -forth.difference
    assert forth.interval is not None
    assert back.interval == (-forth.interval[1], -forth.interval[0])
    expected = holm([ps["one", "two"], ps["one", "three"], ps["two", "three"]])
    assert [tests[pair].p_holm for pair in (("one", "two"), ("one", "three"), ("two", "three"))] == expected


@given(SCORES, SCORES, st.randoms(use_true_random=False))
def test_the_order_of_the_seeds_changes_nothing(
    ours: dict[int, float], theirs: dict[int, float], random: object
) -> None:
    def shuffled(scores: dict[int, float]) -> dict[int, float]:
        seeds = list(scores)
        random.shuffle(seeds)  # type: ignore[attr-defined]
        return {seed: scores[seed] for seed in seeds}

    assert paired(shuffled(ours), shuffled(theirs)) == paired(ours, theirs)
    assert interval(list(shuffled(ours).values())) == interval(list(ours.values()))
    assert spread(list(shuffled(ours).values())) == spread(list(ours.values()))


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        (0.77, 0.0422, "within_1_std"),
        (0.8122, 0.0422, "within_1_std"),  # just
        (0.7278, 0.0422, "within_1_std"),
        (0.8123, 0.0422, "within_2_std"),
        (0.8544, 0.0422, "within_2_std"),
        (0.8545, 0.0422, "outside"),
        (0.2, 0.0422, "outside"),
        (0.77, None, "no_std"),
        (0.77, 0.0, "no_std"),
        (None, 0.0422, "not_run"),
        (None, None, "not_run"),
    ],
)
def test_a_verdict_goes_by_the_published_spread(mean: float | None, std: float | None, expected: str) -> None:
    assert verdict(mean, 0.77, std) == expected


def test_small_errors_are_judged_like_large_accuracies() -> None:
    assert verdict(4.6e-4, 4.23e-4, 0.37e-4) == "within_1_std"
    assert verdict(4.61e-4, 4.23e-4, 0.37e-4) == "within_2_std"


def test_the_worked_example_is_worked_out_right() -> None:
    page = " ".join((Path(__file__).parents[3] / "docs" / "statistics.md").read_text().split())
    rows = re.findall(r"\| ([\w+]+) ((?:\| \d\d\.\d ){5})\| (\S+) ± (\S+) \| (\S+) … (\S+) \|", page)
    seeds = {
        name: dict(enumerate(map(float, re.findall(r"\d\d\.\d", cells)), 42)) for name, cells, *_ in rows
    }
    assert list(seeds) == ["Cross+Self", "CoMM", "InfMasking"]
    for name, _, *told in rows:
        values = list(seeds[name].values())
        worked_out = (fmean(values), spread(values), *(interval(values) or ()))
        assert told == [f"{each:.2f}" for each in worked_out]
    tests = compared(seeds)
    between = tests["InfMasking", "CoMM"]
    assert between.interval is not None
    for words in (
        f"{between.difference:.2f} on average",
        "the difference is {:.2f} … {:.2f}".format(*between.interval),
        f"p = {between.p:.3f}, times 1",
        "p = {0.p:.6f}, times 3 is {0.p_holm:.6f}".format(tests["CoMM", "Cross+Self"]),
        "p = {0.p:.5f}, times 2 is {0.p_holm:.5f}".format(tests["InfMasking", "Cross+Self"]),
    ):
        assert words in page
    assert marks({name: fmean(each.values()) for name, each in seeds.items()}, tests, "higher") == {
        "InfMasking": "best"
    }
    assert verdict(76.6, 77.0, 4.22) == verdict(71.7, 71.4, 3.47) == "within_1_std"


# ---------------------------------------------------------------------------------------------------------- marks


def column(**seeds: list[float]) -> tuple[dict[str, float], dict[tuple[str, str], Compared]]:
    by_seed = {name: dict(enumerate(values)) for name, values in seeds.items()}
    return {name: float(np.mean(values)) for name, values in seeds.items()}, compared(by_seed)


GOOD, FAIR, POOR = (
    [0.90, 0.91, 0.89, 0.90, 0.92],
    [0.80, 0.82, 0.79, 0.81, 0.80],
    [0.5, 0.52, 0.51, 0.5, 0.48],
)


def test_the_best_is_better_than_every_other() -> None:
    assert marks(*column(poor=POOR, good=GOOD, fair=FAIR), "higher") == {"good": "best"}
    assert marks(*column(poor=POOR, good=GOOD, fair=FAIR), "lower") == {"poor": "best"}


def test_what_cannot_be_told_from_the_best_is_tied_with_it() -> None:
    near = [0.91, 0.88, 0.9, 0.92, 0.88]
    assert marks(*column(good=GOOD, poor=POOR, near=near), "higher") == {"good": "tied", "near": "tied"}


def test_equal_scores_are_tied() -> None:
    assert marks(*column(one=GOOD, other=GOOD), "higher") == {"one": "tied", "other": "tied"}


def test_a_difference_that_is_significant_alone_may_not_be_among_many() -> None:
    one, two = [0.5, 0.6, 0.55, 0.52], [0.46, 0.50, 0.52, 0.47]
    alone = column(one=one, two=two)
    p = alone[1]["one", "two"].p
    assert p is not None
    assert 0.05 / 3 < p < 0.05
    assert marks(*alone, "higher") == {"one": "best"}
    among = column(one=one, two=two, three=[0.48, 0.5, 0.53, 0.44], four=[0.51, 0.47, 0.54, 0.46])
    assert set(marks(*among, "higher").values()) == {"tied"}


def test_without_two_common_seeds_nothing_is_marked() -> None:
    assert marks(*column(good=[0.9], poor=[0.1]), "higher") == {}
    assert marks(*column(good=[0.9]), "higher") == {}
    assert marks({}, {}, "higher") == {}


def test_a_single_seed_beside_many_keeps_the_column_from_having_a_best_one() -> None:
    assert marks(*column(good=GOOD, fair=FAIR, single=[0.1]), "higher") == {}
    assert marks(*column(good=GOOD, fair=FAIR, single=[0.99]), "higher") == {}
