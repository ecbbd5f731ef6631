"""What a head says is softmax, sigmoid or the number itself, in float64, of as many outputs as are asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models_store.heads import Head, opened
from service.errors import UnavailableError
from service.inference import predict as module
from service.inference.predict import predict, sigmoid, softmax, told_of
from tests.models_store.bundles import head

RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.standard_normal((5, 4)).astype(np.float32)


def a_head(outputs: int = 3, **changes: Any) -> Head:
    return opened(*head(RANDOM.standard_normal((4, outputs)), **changes))


def exact(each: Head) -> NDArray[np.float64]:
    return VECTORS.astype(np.float64) @ each.weight.astype(np.float64)


def test_classes_have_probabilities_by_name_that_add_up_to_one() -> None:
    of = a_head(names=["red", "green", "blue"])
    for told, logits in zip(predict(of, VECTORS, None), exact(of), strict=True):
        powers = [math.exp(each) for each in logits]
        expected = {
            name: power / sum(powers) for name, power in zip(("red", "green", "blue"), powers, strict=True)
        }
        assert list(told["probabilities"]) == list(expected), "in the order of the classes"
        assert told["probabilities"] == pytest.approx(expected, abs=1e-6)
        assert told["label"] == max(expected, key=lambda name: expected[name])
        assert (told["type"], told["left_out"]) == ("class", 0)


def test_each_label_has_a_probability_of_its_own() -> None:
    of = a_head(4, type="multilabel")
    for told, logits in zip(predict(of, VECTORS, None), exact(of), strict=True):
        expected = {str(label): 1 / (1 + math.exp(-each)) for label, each in enumerate(logits)}
        assert told["probabilities"] == pytest.approx(expected, abs=1e-6)
        assert told["labels"] == [label for label, each in expected.items() if each > 0.5]


def test_a_regression_gives_the_numbers_themselves() -> None:
    of = a_head(2, type="regression")
    told = predict(of, VECTORS, 1)
    assert [each["type"] for each in told] == ["regression"] * 5
    assert np.array([each["values"] for each in told]) == pytest.approx(exact(of), abs=1e-6)


@pytest.mark.parametrize("kind", ["class", "multilabel"])
def test_of_a_hundred_thousand_outputs_the_hundred_most_probable_are_told_unless_more_are_asked_for(
    kind: str,
) -> None:
    of = a_head(100_000, type=kind)
    for top, count in ((None, 100), (3, 3), (2_000, 2_000), (200_000, 100_000)):
        (told,) = predict(of, VECTORS[:1], top)
        probabilities = list(told["probabilities"].values())
        assert len(probabilities) == count == told_of(of.manifest, top)
        assert told["left_out"] == 100_000 - count
        assert probabilities == sorted(probabilities, reverse=True)
        assert next(iter(told["probabilities"])) == str(exact(of)[0].argmax())


def test_few_classes_are_all_told_in_order_and_the_most_probable_first_when_asked_for() -> None:
    of = a_head(1_000)
    told, cut = predict(of, VECTORS[:1], None)[0], predict(of, VECTORS[:1], 5)[0]
    assert list(told["probabilities"]) == [str(label) for label in range(1_000)]
    best = sorted(told["probabilities"], key=lambda label: -told["probabilities"][label])[:5]
    assert list(cut["probabilities"]) == best
    assert cut["left_out"] == 995
    assert cut["label"] == told["label"] == best[0]


def test_what_is_computed_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    of = a_head()
    whole = predict(of, VECTORS, None)
    monkeypatch.setattr(module, "MOST_LOGITS", 6)
    for told, expected in zip(predict(of, VECTORS, None), whole, strict=True):
        assert told["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-7)


def test_large_logits_neither_overflow_nor_warn() -> None:
    large = np.array([1e4, 0, -1e4])
    assert softmax(large).tolist() == [1, 0, 0]
    assert sigmoid(large).tolist() == [1, 0.5, 0]


def test_an_answer_that_is_not_finite_is_refused_by_the_heads_name() -> None:
    of = opened(*head(np.full((4, 2), 3e38)))
    with pytest.raises(UnavailableError, match="'digit'"):
        predict(of, np.full((1, 4), 1e10, dtype=np.float32), None)
