"""Shares and indicators of an explanation, against the definition in plain words."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from service.answers.explain import Explanation, explained, subsets

NAMES = ("image", "text", "sound")
Vectors = dict[tuple[str, ...], NDArray[np.float32]]


def drawn(names: tuple[str, ...], seed: int) -> tuple[NDArray[np.float32], Vectors]:
    rng = np.random.default_rng(seed)
    draw = lambda: rng.normal(0.3, 1, 8).astype(np.float32)  # noqa: E731
    return draw(), {each: draw() for each in subsets(names)}


def cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    a, b = one.astype(np.float64), other.astype(np.float64)
    return float((a * b).sum() / np.sqrt((a * a).sum()) / np.sqrt((b * b).sum()))


def slow_shares(names: tuple[str, ...], full: NDArray[np.float32], parts: Vectors) -> dict[str, float]:
    """Every order in which the modalities can come in, one after the other."""
    added = dict.fromkeys(names, 0.0)
    orders = list(permutations(names))
    for order in orders:
        for place, name in enumerate(order):
            before, after = (
                tuple(each for each in names if each in order[:end]) for end in (place, place + 1)
            )
            values = [
                0.0 if not each else 1.0 if each == names else cosine(full, parts[each])
                for each in (before, after)
            ]
            added[name] += (values[1] - values[0]) / len(orders)
    return added


@pytest.mark.parametrize("names", [NAMES, NAMES[:2], NAMES[:1]])
@pytest.mark.parametrize("seed", range(5))
def test_shares_are_shapley_values_and_add_up_to_one(names: tuple[str, ...], seed: int) -> None:
    full, parts = drawn(names, seed)
    found = explained(names, full, parts)
    assert found["shares"] == pytest.approx(slow_shares(names, full, parts), abs=1e-12)
    assert sum(found["shares"].values()) == pytest.approx(1, abs=1e-12)
    assert [each["modalities"] for each in found["subsets"]] == [list(each) for each in parts]
    assert [each["cosine"] for each in found["subsets"]] == pytest.approx(
        [cosine(full, each) for each in parts.values()], abs=1e-12
    )


def indicators(found: Explanation) -> tuple[float, ...]:
    assert found["redundancy"] is not None
    assert found["synergy"] is not None
    assert found["uniqueness"] is not None
    return (found["redundancy"], *found["uniqueness"].values(), found["synergy"])


def two(image: float, text: float) -> Explanation:
    """Cosines that are known."""
    at = lambda angle: np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)  # noqa: E731
    parts = {("image",): at(np.arccos(image)), ("text",): at(-np.arccos(text))}
    return explained(("image", "text"), at(0.0), parts)


@pytest.mark.parametrize(
    ("image", "text", "expected"),
    [
        (1, 1, (1, 0, 0, 0)),
        (1, 0, (0, 1, 0, 0)),
        (0, 0.5, (0, 0, 0.5, 0.5)),
        (0, 0, (0, 0, 0, 1)),
        (0.8, 0.6, (0.6, 0.2, 0, 0.2)),
        (0.8, -0.6, (0, 0.8, 0, 0.2)),
    ],
)
def test_of_two_modalities_what_is_shared_alone_and_together_adds_up_to_one(
    image: float, text: float, expected: tuple[float, ...]
) -> None:
    found = indicators(two(image, text))
    assert found == pytest.approx(expected, abs=1e-6)
    assert sum(found) == pytest.approx(1, abs=1e-6)


def test_of_three_what_only_two_share_is_left_out() -> None:
    full, parts = drawn(NAMES, 3)
    alone = sorted((max(0.0, cosine(full, parts[name,])) for name in NAMES), reverse=True)
    assert sum(indicators(explained(NAMES, full, parts))) == pytest.approx(
        1 - (alone[1] - alone[2]), abs=1e-9
    )


def test_of_more_than_three_only_what_each_takes_away_is_known() -> None:
    names = ("a", "b", "c", "d")
    assert subsets(names) == [("a", "b", "c"), ("a", "b", "d"), ("a", "c", "d"), ("b", "c", "d")]
    full, parts = drawn(names, 0)
    found = explained(names, full, parts)
    lost = [1 - cosine(full, parts[without]) for without in reversed(subsets(names))]
    assert list(found["shares"].values()) == pytest.approx([each / sum(lost) for each in lost])
    assert (found["redundancy"], found["uniqueness"], found["synergy"]) == (None, None, None)
    same = explained(names, full, dict.fromkeys(parts, full))
    assert list(same["shares"].values()) == pytest.approx([0.25] * 4)


def test_a_vector_of_zeros_points_nowhere() -> None:
    nothing = np.zeros(2, dtype=np.float32)
    found = explained(("a", "b"), nothing, {("a",): nothing, ("b",): nothing})
    assert found["shares"] == {"a": 0.5, "b": 0.5}
    assert found["synergy"] == 1
