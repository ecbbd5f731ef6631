"""Every kind of encoder gives a graph whose batch and lengths are open, and which says what torch says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor

from models_store.manifest import Input, SequenceInput, TableInput, TextInput
from tests.training.methods.batches import REGISTERED, TINY, inputs, registered
from tests.training.runs import small
from tests.training.towers import image_tower, sentence_tower
from training.export.graphs import encoder_graph, fusion_graph, whole_graph
from training.export.variants import write_graph
from training.methods import Method, build_method
from training.spec import Modality, TrainSpec

pytestmark = pytest.mark.long

TOWERS = [
    {"name": "image", "kind": "image", "channels": 3, "size": 24,
     "encoder": {"name": "pretrained_image", "source": "someone/image"}},
    {"name": "text", "kind": "text", "max_tokens": 7,
     "encoder": {"name": "pretrained_text", "source": "someone/text"}},
]  # fmt: skip


@pytest.fixture
def towers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSEBOX_PRETRAINED_DIR", str(tmp_path))
    image_tower(tmp_path / "someone" / "image", "clip_vision")
    sentence_tower(tmp_path / "someone" / "text")


def spec_of(method: str, modalities: list[dict[str, Any]], protocol: str = "strict") -> TrainSpec:
    return small(
        method={"name": method, **TINY[method]}, dataset=registered("some", modalities), protocol=protocol
    )


def graph(method: Method, spec: TrainSpec, path: Path) -> onnxruntime.InferenceSession:
    """The whole network, put together from its parts."""
    given = as_given(spec, 2)
    encoders = {
        each.name: encoder_graph(method, manifest_input(each), given[each.name]) for each in method.modalities
    }
    widths = {name: method.encode(name, given[name]).tokens.shape[-1] for name in encoders}
    write_graph(whole_graph(encoders, fusion_graph(method, widths)), path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def manifest_input(modality: Modality) -> Input:
    """As far as the exporter looks at it: which lengths are open."""
    match modality.kind:
        case "text":
            return TextInput(name=modality.name, max_tokens=modality.max_tokens, pad_id=0)
        case "sequence":
            return SequenceInput(
                name=modality.name,
                features=modality.features,
                max_steps=modality.length,
                fixed_steps=modality.name == "force",
            )
        case _:
            return TableInput(name=modality.name, features=1)


def as_given(spec: TrainSpec, size: int) -> dict[str, Tensor]:
    drawn = inputs(spec, size)
    return {
        name: each.clamp_max(9) if each.dtype == torch.int64 else each.float() for name, each in drawn.items()
    }


@torch.no_grad()
def assert_says_the_same(method: Method, spec: TrainSpec, path: Path) -> None:
    session = graph(method, spec, path)
    count = len(method.modalities)
    for size in (1, 5):
        for absent in (None, *range(count)):
            for length in (None, 1, 4):
                given = as_given(spec, size)
                for each in method.modalities:
                    if length and each.kind in ("text", "sequence") and each.name != "force":
                        given[each.name] = given[each.name][:, :length].contiguous()
                present = torch.ones(size, count, dtype=torch.bool)
                if absent is not None:
                    present[:, absent] = False
                    given[method.modalities[absent].name] = torch.zeros_like(
                        given[method.modalities[absent].name]
                    )
                feed = {name: each.numpy() for name, each in given.items()} | {"present": present.numpy()}
                theirs = torch.from_numpy(session.run(["fused"], feed)[0])
                assert torch.allclose(method.embed(given, present), theirs, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["comm", pytest.param("cmc", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("form", "protocol"),
    [
        ("affect", "strict"),
        pytest.param("affect", "reference", marks=pytest.mark.slow),
        ("clinical", "strict"),
        ("robot", "strict"),
    ],
)
def test_sequences_and_tables_export(method: str, form: str, protocol: str, tmp_path: Path) -> None:
    spec = spec_of(method, REGISTERED[form], protocol)
    assert_says_the_same(build_method(spec, 0).eval(), spec, tmp_path / "model.onnx")


@pytest.mark.usefixtures("towers")
@pytest.mark.parametrize("output", ["tokens", pytest.param("pooled", marks=pytest.mark.slow)])
def test_pretrained_towers_export_with_their_weights_inside(output: str, tmp_path: Path) -> None:
    modalities = [{**each, "encoder": {**each["encoder"], "output": output}} for each in TOWERS]
    spec = spec_of("comm", modalities)
    method = build_method(spec, 0).eval()
    path = tmp_path / "model.onnx"
    assert_says_the_same(method, spec, path)
    frozen = sum(each.numel() for each in method.parameters() if not each.requires_grad)
    assert path.stat().st_size > 4 * 0.9 * frozen
