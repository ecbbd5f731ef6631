"""What a method cannot do with the data is refused before it starts, saying what, where and what to do."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.training.methods.batches import ADMITTED, REGISTERED
from training.spec import METHODS, MODALITY_COUNTS, Modality, Model, SimCLR, TrainSpec


def refusal(spec: dict[str, Any]) -> tuple[str, str]:
    """Where and why a spec is refused."""
    with pytest.raises(ValidationError) as refused:
        TrainSpec.model_validate({"dataset": "digits", **spec})
    assert refused.value.error_count() == 1, refused.value
    error = refused.value.errors()[0]
    where = error.get("ctx", {}).get("loc") or ".".join(map(str, error["loc"]))
    return where, error["msg"]


@pytest.mark.parametrize(
    ("spec", "where", "words"),
    [
        (
            {"method": "cross_self", "dataset": {"name": "digits", "form": "triples"}},
            "dataset.form",
            "'cross_self' takes 2 modalities but dataset 'digits' in the form 'triples' has 3; choose another form, or a "
            "method that takes 3: infmasking, comm, cmc, simclr, mae, supervised",
        ),
        ({"method": {"name": "simclr", "image": "text"}}, "method.image", "no image 'text'; it has image1, image2"),
        (
            {"method": {"name": "slip", "image": "text"}, "dataset": {"name": "digits", "form": "captions"}},
            "method.image",
            "it has image",
        ),
        ({"method": {"name": "supervised", "tasks": ["color"]}}, "method.tasks", "it has share, unique1, unique2, synergy"),
        ({"method": {"name": "supervised", "tasks": []}}, "method.supervised.tasks", "name at least one task"),
        ({"method": {"name": "supervised", "tasks": ["share"] * 2}}, "method.supervised.tasks", "and none twice"),
        ({"method": {"name": "infmasking", "weights": [1, 2]}}, "method.weights", "2 loss weights for 5 terms"),
        ({"method": {"name": "infmasking", "n_masks": 0}}, "method.infmasking.n_masks", "greater than or equal to 1"),
        ({"method": {"name": "infmasking", "n_masks": 1025}}, "method.infmasking.n_masks", "less than or equal to 1024"),
        ({"method": {"name": "mae", "mask_ratio": 0}}, "method.mae.mask_ratio", "take at least 0.01"),
        ({"method": {"name": "mae", "mask_ratio": {"low": 0, "high": 0.5}}}, "method.mae.mask_ratio", "at least 0.01"),
        ({"method": {"name": "mae", "patch_size": 3}}, "method.patch_size", "take one of 2, 4, 8"),
        (
            {"method": "mae", "dataset": {"name": "digits", "image_size": 61}},
            "method.patch_size",
            "an image size with more divisors",
        ),
        ({"method": {"name": "mae", "decoder_dim": 100}}, "method.mae.decoder_heads", "a multiple of 4"),
        ({"batch_size": 1}, "batch_size", "greater than or equal to 2"),
        ({"model": {"dim": 12}}, "model.heads", "8 heads do not divide the width 12"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_where_it_stands(spec: dict[str, Any], where: str, words: str) -> None:
    found, message = refusal(spec)
    assert found == where
    assert words in message


@pytest.mark.parametrize(
    "ratio", [1, -0.1, "0.5", True, {}, {"low": 0.9, "high": 0.2}, {"low": 0.1, "high": 1}, [0.5]]
)
@pytest.mark.parametrize("method", ["infmasking", "mae"])
def test_what_is_no_mask_ratio_gets_one_message_with_examples(method: str, ratio: Any) -> None:
    where, message = refusal({"method": {"name": method, "mask_ratio": ratio}})
    assert where == f"method.{method}.mask_ratio"
    assert '{"low": 0.5, "high": 0.9}' in message


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        ({"image1": 0.5}, "leaves out 'image2'; give one for each of image1, image2"),
        ({"image1": 0.5, "image2": 0.5, "sound": 0.5}, "names 'sound', which the data does not have"),
    ],
)
def test_mask_ratios_by_modality_name_just_the_modalities_of_the_data(ratio: Any, words: str) -> None:
    where, message = refusal({"method": {"name": "infmasking", "mask_ratio": ratio}})
    assert where == "method.mask_ratio"
    assert words in message


def test_a_method_that_augments_images_needs_one() -> None:
    text = Modality(name="text", kind="text", max_tokens=16)
    with pytest.raises(ValueError, match="'simclr' augments an image, but the data has only text"):
        SimCLR().check([text], [])


@pytest.mark.parametrize(
    "ratio", [0.5, 0, {"low": 0.1, "high": 0.9}, {"image1": 0.5, "image2": {"low": 0.0, "high": 0.5}}]
)
def test_a_spec_with_any_form_of_mask_ratio_reads_back_as_it_was_written(ratio: Any) -> None:
    spec = TrainSpec.model_validate(
        {"dataset": "digits", "method": {"name": "infmasking", "mask_ratio": ratio}}
    )
    assert TrainSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(("name", "form"), [each for each in ADMITTED if each[1] not in REGISTERED])
def test_a_bare_name_is_a_whole_method(name: str, form: str) -> None:
    spec = TrainSpec.model_validate({"method": name, "dataset": {"name": "digits", "form": form}})
    assert spec.method == METHODS[name]()
    assert TrainSpec.model_validate_json(spec.model_dump_json()) == spec


def test_methods_of_two_and_of_three_modalities_are_there() -> None:
    assert len(METHODS) == 10
    assert {name for name, counts in MODALITY_COUNTS.items() if 3 in counts} == {
        "infmasking", "comm", "cmc", "simclr", "mae", "supervised",
    }  # fmt: skip
    assert all(2 in counts for counts in MODALITY_COUNTS.values())


@pytest.mark.parametrize("name", METHODS)
def test_every_option_says_what_it_means(name: str) -> None:
    schema = METHODS[name].model_json_schema()
    assert schema["description"]
    telling = {"name", "temperature", "head_hidden", "decoder_dim", "decoder_layers", "low", "high"}
    silent = [each for each, field in schema["properties"].items() if "description" not in field]
    assert set(silent) <= telling


def test_the_default_width_and_heads_fit_each_other() -> None:
    assert Model().dim % Model().heads == 0


@pytest.mark.parametrize(
    ("encoder", "size", "words"),
    [("alexnet", 8, "needs images of at least 63 pixels, but 'image1' has 8"), ("vit", 61, "needs an image size with a divisor")],
)  # fmt: skip
def test_an_encoder_that_cannot_take_the_images_is_refused(encoder: str, size: int, words: str) -> None:
    where, message = refusal(
        {"dataset": {"name": "digits", "image_size": size}, "model": {"encoder": encoder}}
    )
    assert where == "model.encoder"
    assert words in message
