"""The line search tries the steps that torch's own tries, whatever the function."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.optim.lbfgs import _strong_wolfe

from training.probe.line_search import Found, Seen, strong_wolfe

Curve = Callable[[float], tuple[float, float]]
"""Step → value and derivative."""

CURVES: dict[str, Curve] = {
    "a parabola beyond the first step": lambda t: ((t - 7) ** 2, 2 * (t - 7)),
    "a parabola far before it": lambda t: (50 * (t - 0.01) ** 2, 100 * (t - 0.01)),
    "a steep wall": lambda t: (math.exp(6 * t) - 40 * t, 6 * math.exp(6 * t) - 40),
    "waves": lambda t: (math.sin(9 * t) - 0.3 * t, 9 * math.cos(9 * t) - 0.3),
    "downhill without end": lambda t: (-t, -1.0),
    "ever flatter": lambda t: (-math.log1p(t), -1 / (1 + t)),
    "a jump": lambda t: (-t + 5 * (t > 0.3), -1.0),
    "uphill although the slope denies it": lambda t: (3 * t, -1.0),
    "a kink": lambda t: (abs(t - 0.4) - 1e-3 * t, math.copysign(1, t - 0.4) - 1e-3),
    "rounded to steps": lambda t: (round((t - 0.7) ** 2, 2), round(2 * (t - 0.7), 1)),
}


def tries_of_torch(curve: Curve, first: float, most: int) -> tuple[list[float], float, float]:
    """Its steps, and the one it takes with its value."""
    tried: list[float] = []

    def objective(_x: object, t: float, _d: object) -> tuple[float, Tensor]:
        tried.append(float(t))
        value, slope = curve(float(t))
        return value, torch.tensor([slope], dtype=torch.float64)

    value, slope = curve(0.0)
    gradient, direction = torch.tensor([slope], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    loss, _, step, _ = _strong_wolfe(
        objective, None, first, direction, value, gradient, gradient.dot(direction), max_ls=most
    )
    return tried, float(step), float(loss)


def ours(curve: Curve, first: float, most: int) -> tuple[list[float], Found, set[float]]:
    """The same; and the steps whose gradient is at hand in the end: that of the last try, and the kept one."""
    value, slope = curve(0.0)
    search = strong_wolfe(Seen(value, slope, abs(slope)), first, 1.0, most)
    tried: list[float] = []
    kept = 0.0
    trying = next(search)
    while True:
        if trying.keep:
            kept = tried[-1]
        tried.append(trying.step)
        value, slope = curve(trying.step)
        try:
            trying = search.send(Seen(value, slope, abs(slope)))
        except StopIteration as stop:
            found: Found = stop.value
            return tried, found, {kept if found.kept else tried[-1]}


@pytest.mark.parametrize("most", [1, 2, 4, 25])
@pytest.mark.parametrize("first", [1.0, 0.05, 3.0])
@pytest.mark.parametrize("name", CURVES)
def test_the_steps_tried_and_the_step_taken_are_those_of_torch(name: str, first: float, most: int) -> None:
    curve = CURVES[name]
    expected, step, loss = tries_of_torch(curve, first, most)
    tried, found, at_hand = ours(curve, first, most)
    assert tried == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert found.tries == len(expected)
    assert (found.step, found.seen.loss) == pytest.approx((step, loss), rel=1e-9, abs=1e-12)
    if len(expected) <= most:  # else the solver stops, and needs no gradient
        assert at_hand == {found.step}
