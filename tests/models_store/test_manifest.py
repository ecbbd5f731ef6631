"""A manifest says all that serving must know, and one that was written before there was more to say still does."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from models_store.manifest import ImageInput, Manifest, SequenceInput, TableInput
from tests.models_store.bundles import manifest

IMAGE = {
    "kind": "image",
    "name": "image",
    "channels": 1,
    "height": 8,
    "width": 8,
    "mean": [0.3],
    "std": [0.4],
}


def test_an_image_of_an_older_manifest_is_stretched_before_white() -> None:
    older = json.loads(manifest({}).model_dump_json()) | {"inputs": [IMAGE]}
    (image,) = Manifest.model_validate(older).inputs
    assert isinstance(image, ImageInput)
    assert (image.fit, image.background) == ("stretch", (255, 255, 255))


def test_every_kind_of_input_is_read_back_as_it_was_written() -> None:
    inputs = (
        ImageInput.model_validate(IMAGE | {"fit": "cover", "background": None}),
        SequenceInput(
            name="series", features=2, max_steps=24, fixed_steps=False, mean=(0.1, 1e-9), std=(1, 1 / 3)
        ),
        TableInput(name="static", features=5),
    )
    written = manifest({}, inputs=[each.model_dump() for each in inputs]).model_dump_json()
    assert Manifest.model_validate_json(written).inputs == inputs


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_manifest_scales_by_finite_numbers_alone(number: float) -> None:
    with pytest.raises(ValidationError):
        TableInput(name="static", features=1, mean=(0,), std=(number,))


def test_an_older_manifest_has_the_whole_network_in_fp32_and_nothing_else() -> None:
    older = json.loads(manifest({}).model_dump_json())
    for later in ("variants", "withheld", "golden", "quality"):
        del older[later]
    found = Manifest.model_validate(older)
    assert (found.precisions, found.variant("fp32"), found.golden, found.quality) == (
        ("fp32",),
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    "named",
    [
        {
            "variants": [
                {"precision": "fp32", "encoders": {"text": "encoder-text.onnx"}, "fusion": "fusion.onnx"}
            ]
        },
        {"golden": {"file": "golden.npz", "samples": 1, "subsets": [["text"]]}},
    ],
)
def test_a_manifest_names_no_part_that_is_not_among_its_files(named: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="is not among its files"):
        manifest({"model.onnx": b"", "encoder-text.onnx": b""}, **named)
