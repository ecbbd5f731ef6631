"""An encoder that cannot read what the data gives it is refused before anything starts, saying where and what to do."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.training.methods.batches import registered
from training.spec import Modality, Model, TrainSpec

IMAGE = {"name": "image", "kind": "image", "channels": 1, "size": 16}
FORCE = {"name": "force", "kind": "sequence", "length": 40, "features": 6}
TABLE = {"name": "table", "kind": "table", "features": 2_000}
TEXTS = [{"name": name, "kind": "text", "max_tokens": 8} for name in ("title", "plot")]
TOWER = {"source": "someone/tower"}


@pytest.mark.parametrize(
    ("modalities", "encoders", "where", "words"),
    [
        ([IMAGE, {**TABLE, "features": 3}], {"image": {"name": "pretrained_image", **TOWER}}, "model.encoders.image",
         "reads images of three colours, but 'image' has 1; take another encoder"),
        ([IMAGE, FORCE], {"force": "force"}, "model.encoders.force", "a multiple of 32 steps, but 'force' has 40"),
        ([IMAGE, {**FORCE, "encoder": "force"}], {}, "model.encoders.force", "a multiple of 32 steps"),
        ([IMAGE, FORCE], {"force": "columns"}, "model.encoders.force",
         "reads a modality of the kind table, but 'force' is of the kind sequence"),
        ([IMAGE, TABLE], {}, "model.encoders.table",
         "'columns' would make 2000 tokens of 'table', one of each number, and 1024 are the most; take another encoder"),
        ([IMAGE, TABLE], {"table": {"name": "mlp", "widths": [2048], "tokens": "per_feature"}}, "model.encoders.table",
         "2048 tokens"),
        ([IMAGE, {**FORCE, "length": 3200}], {"force": {"name": "force", "tokens": "per_feature", "width": 16}},
         "model.encoders.force", "1600 tokens"),
        ([IMAGE, TABLE], {"other": "mlp"}, "model.encoders.other", "no modality 'other'; it has image, table"),
        (TEXTS, {"plot": {"name": "pretrained_text", **TOWER}}, "model.encoders.plot",
         "'title' and 'plot' have encoders with different ones; give both the same tower, or neither"),
    ],
)  # fmt: skip
def test_an_encoder_that_does_not_fit_the_data_is_refused_where_it_stands(
    modalities: list[dict[str, Any]], encoders: dict[str, Any], where: str, words: str
) -> None:
    dataset = registered("some", modalities)
    with pytest.raises(ValidationError) as refused:
        TrainSpec.model_validate({"dataset": dataset, "method": "comm", "model": {"encoders": encoders}})
    (error,) = refused.value.errors()
    assert error["ctx"]["loc"] == where
    assert words in error["msg"]


def test_texts_that_share_a_tower_or_have_none_are_admitted() -> None:
    tower = {"name": "pretrained_text", **TOWER}
    for encoders in ({}, {"title": tower, "plot": {**tower, "output": "pooled"}}):
        spec = {"dataset": registered("some", TEXTS), "method": "comm", "model": {"encoders": encoders}}
        assert TrainSpec.model_validate(spec)


@pytest.mark.parametrize(
    "source",
    ["", "../tower", "/etc/tower", "a/b/c", "a//b", "a/../b", ".hidden/tower", "a/.b", "a\\b", "a b"],
)
def test_a_tower_is_named_as_on_the_hub_and_nothing_else(source: str) -> None:
    with pytest.raises(ValidationError):
        Model.model_validate({"encoders": {"text": {"name": "pretrained_text", "source": source}}})


@pytest.mark.parametrize(
    ("modality", "encoder", "count"),
    [
        ({**TABLE, "features": 7}, "columns", 7),
        (TABLE, {"name": "mlp", "widths": [8, 5], "tokens": "per_feature"}, 5),
        (TABLE, {"name": "mlp", "widths": [8, 5]}, None),
        (TABLE, {"name": "proprioception", "tokens": "per_feature"}, 64),
        ({**FORCE, "length": 64}, {"name": "force", "tokens": "per_feature", "width": 12}, 24),
        (FORCE, "gru", None),
    ],
)
def test_numbers_become_tokens_where_that_is_asked_for(
    modality: dict[str, Any], encoder: Any, count: int | None
) -> None:
    model = Model.model_validate({"dim": 64, "encoders": {modality["name"]: encoder}})
    assert model.tokens_per_number(Modality.model_validate(modality)) == count
