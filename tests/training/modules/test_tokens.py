"""Tokens: as many and as wide as published for every dataset, and of padding and absence no trace."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.training.methods.batches import REGISTERED, built, inputs, registered, tiny
from tests.training.runs import small
from training.methods import build_method
from training.methods.method import FusedMethod
from training.modules.adapters import FeaturesAdapter, PatchAdapter, SequenceAdapter
from training.modules.by_name import ByName
from training.modules.tokens import Tokens
from training.optim import build_optimizer
from training.spec import Modality, Model, Optim

IMAGE = {"name": "image", "kind": "image", "channels": 3, "size": 128, "encoder": "resnet18"}
FORCE = {"name": "force", "kind": "sequence", "length": 32, "features": 6}
STATE = {"name": "proprio", "kind": "table", "features": 8, "encoder": "proprioception"}
SERIES = {"name": "series", "kind": "sequence", "length": 24, "features": 12}
STATIC = {"name": "static", "kind": "table", "features": 5}
MLP = {"name": "mlp", "widths": (10, 10), "tokens": "per_feature"}


def affect(name: str, features: int) -> dict[str, Any]:
    return {"name": name, "kind": "sequence", "length": 50, "features": features, "encoder": "affect"}


@pytest.mark.parametrize(
    ("modalities", "dim", "lengths"),
    [
        ([affect("vision", 20), affect("text", 300)], 40, [50, 50]),
        ([{**STATIC, "encoder": MLP}, {**SERIES, "encoder": {"name": "gru", "width": 512}}], 512, [10, 24]),
        ([IMAGE, STATE], 512, [16, 1]),
        ([IMAGE, {**FORCE, "encoder": {"name": "force", "tokens": "per_feature"}}], 128, [16, 128]),
        ([IMAGE, {**FORCE, "encoder": "force"}, STATE], 512, [16, 1, 1]),
    ],
    ids=["MOSI", "MIMIC", "V&T CP", "V&T EE", "V&T CP, 3 modalities"],
)
def test_every_dataset_has_the_published_tokens(
    modalities: list[dict[str, Any]], dim: int, lengths: list[int]
) -> None:
    described = tuple(Modality.model_validate(each) for each in modalities)
    tokens = Tokens(described, Model(dim=dim), 0).eval()
    raw = {}
    for each in described:
        shape = {
            "image": (each.channels, each.size, each.size),
            "sequence": (each.length, each.features),
            "table": (each.features,),
        }[each.kind]
        raw[each.name] = torch.randn(2, *shape)
    with torch.no_grad():
        made, there = tokens(raw)
    assert [each.shape for each in made] == [(2, length, dim) for length in lengths]
    assert [each.shape for each in there] == [(2, length) for length in lengths]
    assert all(each.all() for each in there)


@pytest.mark.parametrize(
    ("modality", "dim", "adapter"),
    [
        ({**STATIC, "encoder": "columns"}, 16, FeaturesAdapter),
        ({**STATIC, "encoder": {"name": "mlp", "widths": [16]}}, 16, torch.nn.Identity),
        ({**STATIC, "encoder": {"name": "mlp", "widths": [10]}}, 16, SequenceAdapter),
        ({**STATE, "encoder": {"name": "proprioception", "width": 8}}, 16, SequenceAdapter),
        (STATE, 16, torch.nn.Identity),
        ({**STATE, "encoder": {"name": "proprioception", "tokens": "per_feature"}}, 16, FeaturesAdapter),
        (affect("vision", 3), 40, torch.nn.Identity),
        (affect("vision", 3), 16, SequenceAdapter),
        ({"name": "text", "kind": "text", "max_tokens": 5}, 16, SequenceAdapter),
        ({**IMAGE, "size": 16, "encoder": "conv"}, 16, PatchAdapter),
    ],
)
def test_an_adapter_stands_where_width_or_place_is_missing(
    modality: dict[str, Any], dim: int, adapter: type
) -> None:
    tokens = Tokens((Modality.model_validate(modality),), Model(dim=dim, heads=2), 9)
    assert type(tokens.adapters[modality["name"]]) is adapter


def test_every_number_becomes_a_token_of_its_own() -> None:
    adapter = FeaturesAdapter(6, 4)
    x = torch.randn(3, 2, 3)
    tokens = adapter(x)
    assert tokens.shape == (3, 6, 4)
    for i in range(6):
        value = x[1].flatten()[i]
        assert torch.allclose(tokens[1, i], value * adapter.weight[i] + adapter.bias[i])


def test_a_features_weight_decays_and_its_bias_does_not() -> None:
    method = build_method(tiny("comm", "clinical"), 0)
    decayed, spared = (
        {id(each) for each in group["params"]} for group in build_optimizer(method, Optim()).param_groups
    )
    adapter = next(each for each in method.modules() if isinstance(each, FeaturesAdapter))
    assert id(adapter.weight) in decayed
    assert id(adapter.bias) in spared


@pytest.mark.parametrize("form", ["affect", "clinical"])
@pytest.mark.parametrize("method", ["infmasking", "cmc", "cross", "supervised"])
def test_under_strict_an_embedding_does_not_depend_on_how_far_a_sequence_is_padded(
    method: str, form: str
) -> None:
    network = built(tiny(method, form)).eval()
    raw = inputs(tiny(method, form), 5)
    present = torch.ones(5, 2, dtype=torch.bool)
    further = {
        name: torch.cat([each, torch.zeros(5, 7, each.shape[2], dtype=each.dtype)], dim=1)
        if each.ndim == 3
        else each
        for name, each in raw.items()
    }
    assert torch.allclose(network.embed(raw, present), network.embed(further, present), atol=1e-10)


@pytest.mark.parametrize("method", ["comm", "cmc"])
def test_under_reference_affect_sequences_are_read_to_the_length_they_come_in(method: str) -> None:
    spec = small(method=method, dataset=registered("affect", REGISTERED["affect"]), protocol="reference")
    network = built(spec).eval()
    raw = inputs(spec, 5)
    raw = {name: each[:, :4].clone() for name, each in raw.items()}
    further = {
        name: torch.cat([each, torch.zeros(5, 7, each.shape[2], dtype=each.dtype)], dim=1)
        for name, each in raw.items()
    }
    present = torch.ones(5, 2, dtype=torch.bool)
    assert not torch.allclose(network.embed(raw, present), network.embed(further, present), atol=1e-6)


@pytest.mark.parametrize("protocol", ["strict", "reference"])
@pytest.mark.parametrize("form", ["affect", "clinical", "robot"])
@pytest.mark.parametrize("method", ["comm", "cmc"])
def test_what_is_absent_and_all_zeros_has_no_influence(method: str, form: str, protocol: str) -> None:
    spec = small(method=method, dataset=registered(form, REGISTERED[form]), protocol=protocol)
    network = built(spec).eval()
    raw = inputs(spec, 4)
    for m, modality in enumerate(spec.dataset.modalities):
        present = torch.ones(4, len(raw), dtype=torch.bool)
        present[:, m] = False
        zeros = {**raw, modality.name: torch.zeros_like(raw[modality.name])}
        embedded = network.embed(zeros, present)
        assert embedded.isfinite().all()
        assert torch.equal(embedded, network.embed(raw, present))


def test_a_fused_view_in_training_sees_no_padding_under_strict() -> None:
    method = built(tiny("comm", "affect"))
    assert isinstance(method, FusedMethod)
    raw = inputs(tiny("comm", "affect"), 3)
    _, there = method.tokens_of_both([raw, raw])  # type: ignore[operator]
    assert there is not None
    assert not there[0].all()


@pytest.mark.parametrize("name", ["values", "type", "training", "keys", "forward"])
def test_a_modality_may_be_called_what_torch_calls_something(name: str) -> None:
    modules = ByName({name: torch.nn.Linear(1, 1), "image": torch.nn.Identity()})
    assert isinstance(modules[name], torch.nn.Linear)
    assert list(modules) == [name, "image"]
    assert len(list(modules.parameters())) == 2
    assert "other" not in modules
