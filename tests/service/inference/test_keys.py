"""Two things have one key only if they have one vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from service.inference.arrays import Packed
from service.inference.keys import input_key, keyed, outline
from service.inference.prepare import AssetRef, Given, Sample


@dataclass(frozen=True)
class Model:
    digest: str = "a" * 64
    precision: str = "fp32"


def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, np.dtype[Any]]:
    return np.zeros(shape, dtype=dtype)


SAMPLES = [
    Sample({"image": zeros(1, 4, 6)}),
    Sample({"image": zeros(1, 6, 4)}),
    Sample({"image": zeros(1, 4, 6) + np.float32(1e-7)}),
    Sample({"other": zeros(1, 4, 6)}),
    Sample({"image": zeros(24)}),
    Sample({"image": zeros(24, dtype=np.int32)}),
    Sample({"image": zeros(24), "text": zeros(2, dtype=np.int64)}),
    Sample({"image": zeros(24), "text": zeros(3, dtype=np.int64)}),
    Sample({"image": zeros(24), "texts": zeros(2, dtype=np.int64)}),
    Sample({}),
    Sample({"image": zeros(24, dtype=np.uint8)}),
    Sample({"image": zeros(24, dtype=np.uint8) + np.uint8(1)}),
]
INPUTS: list[dict[str, Any]] = [
    {"text": "1"},
    {"text": [1]},
    {"text": "[1]"},
    {"text": [[1]]},
    {"text": [True]},
    {"text": [1.5]},
    {"text": Packed("AAAA", (1, 3))},
    {"text": Packed("AAAA", (13,))},
    {"text": "(13,)AAAA"},
    {"other": "1"},
    {"text": "1", "other": "1"},
    {"text": "", "other": "1"},
    {"text": "\ud800"},
    {"other": "x", "text": "y"},
    {"other": "xtexttexty"},
]


def test_samples_that_differ_in_anything_have_keys_of_their_own() -> None:
    assert len({keyed(Model(), each).key for each in SAMPLES}) == len(SAMPLES)


def test_inputs_that_differ_in_anything_have_keys_of_their_own() -> None:
    assert len({input_key(Model(), Given(each, "/inputs/0")) for each in INPUTS}) == len(INPUTS)


def test_every_model_and_precision_has_keys_of_its_own() -> None:
    models = [Model(), Model(precision="int8"), Model(digest="b" * 64)]
    assert len({keyed(model, SAMPLES[0]).key for model in models}) == len(models)
    assert len({input_key(model, Given({"text": "1"}, "")) for model in models}) == len(models)


def test_neither_the_order_nor_the_place_nor_how_an_array_lies_in_memory_changes_a_key() -> None:
    one, other = zeros(2, 3) + np.arange(3, dtype=np.float32), zeros(2)
    lying = np.asfortranarray(one)[:, :]
    assert (
        keyed(Model(), Sample({"a": one, "b": other})).key
        == keyed(Model(), Sample({"b": other, "a": lying})).key
    )
    assert input_key(Model(), Given({"a": "1", "b": "2"}, "/inputs/0")) == input_key(
        Model(), Given({"b": "2", "a": "1"}, "/query")
    )


@pytest.mark.parametrize("value", [AssetRef("0" * 64), [10**400], [[[[object()]]]]])
def test_what_may_have_changed_or_is_no_json_has_no_key(value: Any) -> None:
    assert input_key(Model(), Given({"image": value, "text": "x"}, "")) is None


def test_an_outline_has_the_shapes_and_none_of_the_memory() -> None:
    sample = Sample({"image": np.ones((3, 224, 224), np.float32), "text": np.arange(7)}, ("text",))
    told = outline(sample)
    assert {name: (each.shape, each.dtype) for name, each in told.arrays.items()} == {
        name: (each.shape, each.dtype) for name, each in sample.arrays.items()
    }
    assert told.truncated == ("text",)
    assert all(each.base is not None and each.base.nbytes <= 8 for each in told.arrays.values())
