"""Presets say what the published runs did, and each is a spec that holds."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.published import lookup
from training.methods import build_method
from training.spec import InfMasking, TrainSpec
from training.spec.presets import PRESETS, ROWS, merged


def spec_of(name: str, **changes: object) -> TrainSpec:
    return TrainSpec.model_validate(merged(PRESETS[name].spec, changes), context={"datasets": lookup})


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_whole_spec_under_either_protocol(name: str) -> None:
    spec = spec_of(name)
    assert spec.protocol == ("reference" if ROWS[PRESETS[name].row].ours is None else "strict")
    assert spec.method.name == PRESETS[name].method
    assert name == f"{PRESETS[name].row}-{spec.method.name.replace('_', '-')}"
    strict = spec_of(name, protocol="strict")
    assert strict.protocol == "strict"
    assert strict.method == spec.method


@pytest.mark.parametrize("row", [name for name, row in ROWS.items() if row.ours is not None])
def test_in_a_row_of_ours_all_methods_take_the_same_steps(row: str) -> None:
    specs = {name: spec_of(name) for name, preset in PRESETS.items() if preset.row == row}
    assert {preset.options_from.split(":")[0] for name, preset in PRESETS.items() if name in specs} == {
        "ours"
    }
    assert (
        len(
            {
                (each.epochs, each.batch_size, each.optim.lr, each.model.model_dump_json())
                for each in specs.values()
            }
        )
        == 1
    )


def test_a_supervised_training_sees_pairs_with_and_without_the_relation_that_it_learns() -> None:
    for row, definition in ROWS.items():
        if definition.dataset.get("biased"):
            assert not spec_of(f"{row}-supervised").dataset.biased  # type: ignore[union-attr]
            assert spec_of(f"{row}-comm").dataset.biased  # type: ignore[union-attr]


def test_every_row_of_the_tables_has_its_headline_method() -> None:
    assert all(f"{row}-infmasking" in PRESETS for row in ROWS)


PUBLISHED = {
    "trifeatures-uniqueness": (3e-4, 1e-4, 0.1, 1.0, 0.7, 6, None, 512, 1),
    "trifeatures-synergy": (3e-4, 1e-4, 0.1, 1.0, 0.7, 6, None, 512, 1),
    "mosi": (1e-3, 1e-2, 0.1, 0.25, 0.8, 5, None, 40, 1),
    "ur-funny": (1e-3, 1e-2, 0.05, 2.0, 0.5, 4, (1, 1, 1, 1, 5), 40, 1),
    "mustard": (1e-3, 5e-2, 0.05, 1.0, 0.5, 5, None, 40, 1),
    "mimic": (3e-4, 1e-2, 0.2, 1.0, 0.8, 6, (1, 1, 1, 1, 5), 512, 1),
    "vision-touch-cp": (1e-4, 1e-2, 0.1, 1.0, 0.7, 6, None, 512, 1),
    "vision-touch-ee": (1e-4, 1e-2, 0.1, 1.0, 0.5, 4, (1, 1, 1, 1, 5), 128, 1),
    "mmimdb": (1e-3, 1e-2, 0.2, 0.5, 0.8, 4, (1, 1, 1, 1, 5), 768, 1),
    "ur-funny-3": (1e-3, 1e-2, 0.05, 2.0, 0.5, 4, None, 40, 2),
    "vision-touch-cp-3": (1e-4, 1e-2, 0.1, 1.0, 0.8, 5, None, 512, 2),
}
"""lr, weight decay, temperature, lambda, mask ratio, masks, loss weights, width, fusion blocks."""


@pytest.mark.parametrize("row", PUBLISHED)
def test_infmasking_is_set_as_in_its_published_runs(row: str) -> None:
    spec = spec_of(f"{row}-infmasking")
    method = spec.method
    assert isinstance(method, InfMasking)
    assert (
        spec.optim.lr,
        spec.optim.weight_decay,
        method.temperature,
        method.mask_lambda,
        method.mask_ratio,
        method.n_masks,
        method.weights,
        spec.model.dim,
        spec.model.layers,
    ) == PUBLISHED[row]
    assert spec.batch_size == 64
    assert spec.epochs == (70 if row == "mmimdb" else 100)
    assert spec.model.heads == 8
    assert (spec.model.head_hidden, spec.model.head_out) == (512, 256)


SHAPES = {
    "trifeatures-synergy": [36, 36],
    "mosi": [50, 50],
    "mimic": [10, 24],
    "vision-touch-cp": [16, 1],
    "vision-touch-ee": [16, 128],
    "ur-funny-3": [50, 50, 50],
    "vision-touch-cp-3": [16, 1, 1],
}


@pytest.mark.parametrize("row", SHAPES)
def test_the_fusion_sees_as_many_tokens_as_in_the_published_runs(row: str) -> None:
    from tests.bench.step import random_inputs

    spec = spec_of(f"{row}-infmasking")
    method = build_method(spec, 0)
    tokens, _ = method.tokens(random_inputs(spec, 2))  # type: ignore[operator]
    assert [each.shape[1] for each in tokens] == SHAPES[row]
    assert {each.shape[2] for each in tokens} == {spec.model.dim}


def test_a_dataset_that_is_not_registered_is_named() -> None:
    with pytest.raises(ValidationError, match=r"there is no dataset 'mosi'.*fusebox datasets add"):
        TrainSpec.model_validate(PRESETS["mosi-comm"].spec, context={"datasets": lambda name: None})


def test_what_is_merged_into_a_preset_wins_and_another_method_starts_anew() -> None:
    spec = spec_of("mosi-infmasking", optim={"lr": 0.5}, method={"n_masks": 64})
    assert (spec.optim.lr, spec.optim.weight_decay) == (0.5, 1e-2)
    assert isinstance(spec.method, InfMasking)
    assert (spec.method.n_masks, spec.method.mask_ratio) == (64, 0.8)
    other = spec_of("mosi-infmasking", method={"name": "comm"})
    assert other.method.name == "comm"
