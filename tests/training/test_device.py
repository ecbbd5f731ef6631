"""Which device a run computes on, and how precisely it does there. A GPU is pretended; nothing is computed on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.training.runs import small
from training.probe.job import device_for
from training.runner import Device, use_device


@pytest.fixture(autouse=True)
def precision_left_as_it_was() -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True  # what torch starts with
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("tf32", "precision"), [(False, "highest"), (True, "high")])
def test_a_gpu_rounds_factors_only_when_asked_to(tf32: bool, precision: str) -> None:
    assert use_device("auto", tf32=tf32) == "cuda"
    assert torch.get_float32_matmul_precision() == precision
    assert torch.backends.cudnn.allow_tf32 == tf32


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("precision", ["32", "tf32", "bf16"])
def test_probes_and_embeddings_are_computed_in_full_however_their_model_was_trained(precision: str) -> None:
    assert device_for(small(precision=precision)) == "cuda"
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.usefixtures("gpu")
def test_what_was_to_be_trained_on_a_cpu_is_probed_on_one() -> None:
    assert device_for(small(device="cpu")) == "cpu"


@pytest.mark.parametrize(("asked", "device"), [("auto", "cpu"), ("cpu", "cpu"), ("cuda", "cuda")])
def test_without_a_gpu_only_who_insists_gets_one(
    asked: Device, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is refused by what uses it; a model that was trained on one is probed on a CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert use_device(asked) == device
    assert device_for(small(device=asked)) == "cpu"
