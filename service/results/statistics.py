"""What may be said of a mean over seeds: how sure it is, whether two differ, and whether one repeats a published number.

Numbers come in, numbers and words leave; `docs/statistics.md` says the same for people. A seed stands for one training
from start to end, so seeds vary independently; a pair is two methods trained with the same seed, on the same data in the
same order. With one seed nothing is known of the spread, and nothing is made up.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from scipy.special import stdtr, stdtrit

from service.schemas.results import Interval, Mark, Verdict

CONFIDENCE = 0.95
SIGNIFICANT = 0.05
"""A corrected p below it counts as a difference."""
ROUNDING = 1e-9
"""Smaller parts of a number are the computer's."""


class Paired(NamedTuple):
    """One method's values less another's, over the seeds that both have."""

    n_common: int
    difference: float | None
    """Mean; none without a common seed."""
    interval: Interval | None
    """95 % of the difference."""
    p: float | None
    """Two-sided; none where the test does not exist: with fewer than two common seeds, or where all differences are equal
    and not zero, so that nothing is known of how they vary."""


class Compared(NamedTuple):
    """As Paired, and its p corrected for all pairs of methods that were tested."""

    n_common: int
    difference: float | None
    interval: Interval | None
    p: float | None
    p_holm: float | None


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation, n - 1 in the denominator. None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def interval(values: Sequence[float]) -> Interval | None:
    """Student's 95 % interval of the mean. None for fewer than two values."""
    std = spread(values)
    if std is None:
        return None
    n = len(values)
    reach = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * std / n**0.5
    mean = statistics.fmean(values)
    return mean - reach, mean + reach


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Paired:
    """Student's paired test. Both: seed → value; seeds that only one has do not count."""
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    if not differences:
        return Paired(0, None, None, None)
    mean, std, n = statistics.fmean(differences), spread(differences), len(differences)
    if std is None:
        return Paired(n, mean, None, None)
    if std <= ROUNDING * abs(mean):
        return Paired(n, mean, interval(differences), None if any(differences) else 1.0)
    t = mean / (std / n**0.5)
    return Paired(n, mean, interval(differences), 2 * float(stdtr(n - 1, -abs(t))))


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Each p corrected for there being so many of them (Holm, 1979), in the order given. None stays None, and is none."""
    order = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    greatest = 0.0
    for done, (p, place) in enumerate(order):
        greatest = max(greatest, min(1.0, (len(order) - done) * p))
        corrected[place] = greatest
    return corrected


def compared(of: Mapping[str, Mapping[int, float]]) -> dict[tuple[str, str], Compared]:
    """Each of a column's methods with each other one, in both orders. of: name → seed → value.

    All pairs are one family for Holm's correction: whoever looks for the best method has looked at all of them.
    """
    pairs = list(itertools.combinations(of, 2))
    found = [paired(of[one], of[other]) for one, other in pairs]
    both: dict[tuple[str, str], Compared] = {}
    for (one, other), test, p_holm in zip(pairs, found, holm([each.p for each in found]), strict=True):
        both[one, other] = Compared(*test, p_holm)
        both[other, one] = Compared(*_reversed(test), p_holm)
    return both


def verdict(mean: float | None, published: float, std: float | None) -> Verdict:
    """Whether the mean lies within one or two of the published standard deviations of the published mean, all in one unit.

    A spread that was printed as 0.0 is one too small to be printed, by which nothing can be judged.
    """
    if mean is None:
        return "not_run"
    if not std:
        return "no_std"
    away = abs(mean - published) / std - ROUNDING
    return "within_1_std" if away <= 1 else "within_2_std" if away <= 2 else "outside"


def marks(
    means: Mapping[str, float],
    comparisons: Mapping[tuple[str, str], Compared],
    better: Literal["higher", "lower"],
) -> dict[str, Mark]:
    """Which of a column's methods is best, if one is; else which cannot be told from it.

    "best" is significantly better than every other. Where none is, the one with the best mean and all that are not
    significantly worse are "tied". What has no test against the best one bears no mark.
    """
    if len(means) < 2:
        return {}
    best = (max if better == "higher" else min)(means, key=lambda name: means[name])
    tests = {name: comparisons[best, name].p_holm for name in means if name != best}
    if all(p is not None and p < SIGNIFICANT for p in tests.values()):
        return {best: "best"}
    level = [name for name, p in tests.items() if p is not None and p >= SIGNIFICANT]
    return {name: "tied" for name in means if level and name in (best, *level)}


def _reversed(test: Paired) -> Paired:
    difference = None if test.difference is None else -test.difference
    ends = None if test.interval is None else (-test.interval[1], -test.interval[0])
    return Paired(test.n_common, difference, ends, test.p)
