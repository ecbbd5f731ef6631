"""How far to go along a direction: a step that satisfies the strong Wolfe conditions, as a conversation.

The search yields the step it wants to try and is sent what was seen there. It does no arithmetic on vectors, so many
searches can be in progress at once and their tries be evaluated together. Bracketing and zooming by cubic interpolation
are those of Nocedal & Wright, Numerical Optimization, algorithms 3.5 and 3.6; constants, safeguards and what happens
on ties are those of `torch.optim.LBFGS`, by which the published scores were made.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import NamedTuple

SUFFICIENT_DECREASE = 1e-4
CURVATURE = 0.9
SHORTEST_BRACKET = 1e-9


class Seen(NamedTuple):
    """What an evaluation tells of a point on the way."""

    loss: float
    slope: float
    """Derivative of the loss along the direction."""
    largest: float
    """Largest absolute element of the gradient."""


class Try(NamedTuple):
    step: float
    keep: bool
    """The gradient of the try before this one may be needed in the end: keep it, instead of the one kept so far."""


class Found(NamedTuple):
    step: float
    seen: Seen
    kept: bool
    """Its gradient is the kept one, not that of the last try."""
    tries: int


class _Point(NamedTuple):
    step: float
    seen: Seen


def strong_wolfe(start: Seen, first: float, reach: float, most_tries: int) -> Generator[Try, Seen, Found]:
    """Tries `first`, then at most `most_tries` more. `reach`: largest absolute element of the direction.

    At the beginning the kept gradient is that of `start`.
    """
    before, now = _Point(0.0, start), _Point(first, (yield Try(first, keep=False)))
    tries = 1
    while tries <= most_tries:
        if _too_high(now, start) or (tries > 2 and now.seen.loss >= before.seen.loss):
            return (yield from _zoom(start, [before, now], reach, tries, most_tries))
        if abs(now.seen.slope) <= -CURVATURE * start.slope:
            return Found(now.step, now.seen, kept=False, tries=tries)
        if now.seen.slope >= 0:
            return (yield from _zoom(start, [before, now], reach, tries, most_tries))
        step = _lowest(before, now, now.step + 0.01 * (now.step - before.step), 10 * now.step)
        before, now = now, _Point(step, (yield Try(step, keep=True)))
        tries += 1
    if start.loss <= now.seen.loss:
        return Found(0.0, start, kept=True, tries=tries)
    return Found(now.step, now.seen, kept=False, tries=tries)


def _zoom(
    start: Seen, ends: list[_Point], reach: float, tries: int, most_tries: int
) -> Generator[Try, Seen, Found]:
    """Narrows the bracket between the two ends, of which the second is the last try and the first is kept."""
    low = _lower(ends)
    newest, hesitated, satisfied = 1, False, False
    while (
        not satisfied and tries <= most_tries and abs(ends[1].step - ends[0].step) * reach >= SHORTEST_BRACKET
    ):
        left, right = sorted(end.step for end in ends)
        step = _lowest(ends[0], ends[1], left, right)
        step, hesitated = _away_from_ends(step, left, right, hesitated)
        new = _Point(step, (yield Try(step, keep=newest == low)))
        tries += 1
        high = 1 - low
        if _too_high(new, start) or new.seen.loss >= ends[low].seen.loss:
            ends[high], newest = new, high
            low = _lower(ends)
            continue
        satisfied = abs(new.seen.slope) <= -CURVATURE * start.slope
        if not satisfied and new.seen.slope * (ends[high].step - ends[low].step) >= 0:
            ends[high] = ends[low]
        ends[low], newest = new, low
    return Found(ends[low].step, ends[low].seen, kept=newest != low, tries=tries)


def _too_high(point: _Point, start: Seen) -> bool:
    return point.seen.loss > start.loss + SUFFICIENT_DECREASE * point.step * start.slope


def _lower(ends: list[_Point]) -> int:
    return 0 if ends[0].seen.loss <= ends[1].seen.loss else 1


def _away_from_ends(step: float, left: float, right: float, hesitated: bool) -> tuple[float, bool]:
    """Twice in a row within a tenth of an end, or once at it: a tenth inwards. Returns too whether it let that pass."""
    margin = 0.1 * (right - left)
    if min(right - step, step - left) >= margin:
        return step, False
    if not hesitated and left < step < right:
        return step, True
    return (right - margin if abs(step - right) < abs(step - left) else left + margin), False


def _lowest(one: _Point, other: _Point, least: float, most: float) -> float:
    """Where the cubic through both points with their slopes is lowest, within bounds; their middle if it has no minimum."""
    left, right = (one, other) if one.step <= other.step else (other, one)
    width = right.step - left.step
    mean = left.seen.slope + right.seen.slope - 3 * (right.seen.loss - left.seen.loss) / width
    square = mean * mean - left.seen.slope * right.seen.slope
    if not square >= 0:
        return (least + most) / 2
    root = math.sqrt(square)
    above, below = right.seen.slope + root - mean, right.seen.slope - left.seen.slope + 2 * root
    if below == 0:  # a straight line: downhill without end
        return most if above < 0 else least
    return min(max(right.step - width * (above / below), least), most)
