"""What a checkpoint gives back is what training had, to the bit, however the numbers lie in memory."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.optim import Optimizer

from tests.training.runs import small
from training import checkpoint
from training.optim import build_optimizer
from training.spec import Optim

META = checkpoint.Meta(
    spec=small(), step=1, epoch=0, score=None, best_step=None, best_score=None, vocabulary=0, dataset_sha256="",
    sha256={}, **checkpoint.random_states(),
)  # fmt: skip


def in_channels_last() -> nn.Conv2d:
    """As a ResNet's convolutions are."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 4, 3)
    convolution.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return convolution


def take_step(network: nn.Module, optimizer: Optimizer, seed: int) -> None:
    torch.manual_seed(seed)
    optimizer.zero_grad()
    network(torch.randn(2, 3, 5, 5)).square().sum().backward()
    optimizer.step()


def written_and_read(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As a checkpoint's file keeps them: in the order of their indices."""
    return load(save({name: each.contiguous() for name, each in tensors.items()}))


def test_a_restored_optimizer_steps_as_if_undisturbed_whatever_order_the_weights_are_in() -> None:
    undisturbed = in_channels_last()
    optimizer = build_optimizer(undisturbed, Optim())
    take_step(undisturbed, optimizer, seed=1)
    resumed = copy.deepcopy(undisturbed)
    restored = build_optimizer(resumed, Optim())
    checkpoint.restore_optimizer(restored, written_and_read(checkpoint.optimizer_tensors(optimizer)))

    take_step(undisturbed, optimizer, seed=2)
    take_step(resumed, restored, seed=2)
    assert torch.equal(resumed.weight, undisturbed.weight)
    assert restored.state[resumed.weight]["exp_avg"].stride() == resumed.weight.stride()
    assert restored.state[resumed.weight]["step"] == 2


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_only_a_run_on_a_gpu_has_to_do_with_its_generator(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU is pretended. To ask it for its generator opens it, which takes memory, and it may be someone else's."""
    gpu, device = [torch.tensor([1, 2], dtype=torch.uint8)], torch.device(kind)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda *_: gpu[-1])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, *_: gpu.append(state))
    states = checkpoint.torch_random_states(device)
    assert len(states) == (2 if kind == "cuda" else 1)

    expected = torch.rand(1)
    both = {"random.0": states[0][None], "random.1": gpu[0][None]}  # as a run on a GPU has left them
    checkpoint.restore_random_states(META, both, 0, device)
    assert torch.rand(1) == expected
    assert len(gpu) == (2 if kind == "cuda" else 1)
