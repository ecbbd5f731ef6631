"""An embedding's spec is refused where it makes no sense, by itself or beside the training that it is of."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.training.runs import small
from training.spec import Card, EmbedSpec, Modality, Registered, TrainSpec

CAPTIONS = small(dataset={"form": "captions"})


def spec(**said: Any) -> EmbedSpec:
    return EmbedSpec.model_validate({"run": "model", **said})


def registered(*modalities: Modality, name: str = "mine", **samples: int) -> Registered:
    card = Card(modalities=modalities, tasks=(), samples=samples or {"train": 80, "test": 20})  # type: ignore[arg-type]
    return Registered(name=name, sha256="a" * 64, card=card)


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ({"run": "../else"}, "run"),
        ({"checkpoint": -1}, "checkpoint"),
        ({"splits": []}, "splits"),
        ({"splits": ["train", "train"]}, "splits"),
        ({"splits": ["dev"]}, "splits"),
        ({"modalities": []}, "modalities"),
        ({"modalities": [[]]}, "modalities"),
        ({"modalities": ["image", "image"]}, "modalities"),
        ({"modalities": [["image", "text"], ["text", "image"]]}, "modalities"),
        ({"modalities": "image"}, "modalities"),
        ({"batch_size": 0}, "batch_size"),
        ({"samples_per_part": 0}, "samples_per_part"),
        ({"format": "csv"}, "format"),
        ({"projection": "lda"}, "projection"),
        ({"dataset": {"name": "digits", "form": "videos"}}, "dataset"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(said: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        spec(**said)
    assert {str(each["loc"][0]) for each in refusal.value.errors()} == {place}


def test_by_default_everything_is_embedded_with_all_its_modalities() -> None:
    default = spec()
    assert default.misfits(CAPTIONS) == []
    assert default.subsets(CAPTIONS) == (("image", "text"),)
    assert default.splits_of(CAPTIONS) == ("train", "test")
    assert default.embeds(CAPTIONS) == CAPTIONS.dataset


def test_one_subset_and_several_are_put_into_the_order_of_the_training() -> None:
    assert spec(modalities=["text"]).subsets(CAPTIONS) == (("text",),)
    several = spec(modalities=[["text", "image"], ["text"]], splits=["test", "train"])
    assert several.subsets(CAPTIONS) == (("image", "text"), ("text",))
    assert several.splits_of(CAPTIONS) == ("train", "test")
    assert EmbedSpec.model_validate_json(several.model_dump_json()) == several


def test_names_that_the_training_does_not_have_are_each_pointed_at() -> None:
    wrong = spec(modalities=[["text"], ["sound"]], splits=["val"])
    found = wrong.misfits(CAPTIONS)
    assert [(each.pointer, each.code) for each in found] == [
        ("/modalities/1", "unknown_modality"),
        ("/splits/0", "no_such_split"),
    ]
    assert "it has image, text" in found[0].detail
    assert "it has train, test" in found[1].detail


IMAGE = Modality(name="image", kind="image", channels=1, size=8)
TEXT = Modality(name="text", kind="text", max_tokens=16)


@pytest.mark.parametrize(
    ("modalities", "fits"),
    [
        ((IMAGE, TEXT), True),
        ((TEXT, IMAGE), True),
        ((IMAGE, TEXT.model_copy(update={"max_tokens": 4})), True),
        ((IMAGE, TEXT.model_copy(update={"max_tokens": 17})), False),
        ((IMAGE,), False),
        ((IMAGE.model_copy(update={"size": 16}), TEXT), False),
        ((IMAGE.model_copy(update={"channels": 3}), TEXT), False),
        ((Modality(name="image", kind="table", features=4), TEXT), False),
    ],
)
def test_another_dataset_needs_the_very_modalities(modalities: tuple[Modality, ...], fits: bool) -> None:
    found = spec(dataset=registered(*modalities)).misfits(CAPTIONS)
    assert [each.pointer for each in found] == ([] if fits else ["/dataset"])
    if not fits:
        assert "image (image of 1 × 8 × 8), text (text of 16 tokens)" in found[0].detail


def test_splits_are_those_of_the_dataset_that_is_embedded() -> None:
    other = registered(IMAGE, TEXT, train=5, val=5, test=5)
    assert spec(dataset=other).splits_of(CAPTIONS) == ("train", "val", "test")
    assert spec(dataset=other, splits=["val"]).misfits(CAPTIONS) == []


def test_a_training_is_not_changed_by_what_is_embedded() -> None:
    assert TrainSpec.model_validate(CAPTIONS.model_dump()) == CAPTIONS
