"""A batch in parts gives the loss and the gradients of the whole batch, for every method."""

from __future__ import annotations

import copy
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, distributed, nn

from tests.training.methods.batches import ADMITTED, START, batch, built, tiny
from tests.training.one_share import SHARED, case
from tests.training.runs import small
from training.averaging import AveragedWeights
from training.losses import Loss
from training.methods import Batch, Method, When
from training.modules.encoders import ResNetEncoder
from training.processes import Processes
from training.spec import Model
from training.step import loss_and_gradients

ALONE = Processes(small(device="cpu"))


def cut(whole: Batch, sizes: list[int]) -> list[Batch]:
    """The batch in parts of these sizes."""
    views = [{name: each.split(sizes) for name, each in view.items()} for view in whole.views]
    labels = {task: each.split(sizes) for task, each in whole.labels.items()}
    return [
        Batch(
            [{name: parts[i] for name, parts in view.items()} for view in views],
            {task: parts[i] for task, parts in labels.items()},
        )
        for i in range(len(sizes))
    ]


def in_one_graph(method: Method, parts: list[Batch], when: When) -> Loss:
    """The slow way: every part's graph is held until all parts are there."""
    features = [method.features(part, when) for part in parts]
    together = {name: torch.cat([each[name] for each in features], dim=-2) for name in features[0]}
    labels = {task: torch.cat([part.labels[task] for part in parts]) for task in parts[0].labels}
    return method.loss(together, labels, when)


def gradients(method: nn.Module) -> dict[str, Tensor]:
    return {name: each.grad for name, each in method.named_parameters() if each.grad is not None}


def assert_close(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert list(one) == list(two)
    for name, gradient in one.items():
        assert torch.allclose(gradient, two[name], rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize(("name", "form"), ADMITTED)
def test_parts_give_the_loss_and_gradients_of_the_whole(name: str, form: str) -> None:
    spec = tiny(name, form)
    slow = built(spec)
    parts = cut(batch(slow, spec, 9), [4, 3, 2])
    fast = copy.deepcopy(slow)
    for turn in range(slow.turns):
        when = START._replace(turn=turn)
        torch.manual_seed(3)  # masks
        expected = in_one_graph(slow, parts, when)
        expected.loss.backward()
        torch.manual_seed(3)
        found = loss_and_gradients(fast, parts, when, ALONE)
        assert found.loss.item() == pytest.approx(expected.loss.item(), rel=1e-12)
        assert list(found.terms) == list(expected.terms)
    assert_close(gradients(slow), gradients(fast))


def test_where_nothing_is_random_parts_equal_one_piece() -> None:
    spec = tiny("comm", "triples")
    one = built(spec)
    whole = batch(one, spec, 12)
    several = copy.deepcopy(one)
    loss = loss_and_gradients(one, [whole], START, ALONE).loss
    assert loss_and_gradients(several, cut(whole, [5, 4, 3]), START, ALONE).loss.item() == pytest.approx(
        loss.item()
    )
    assert_close(gradients(one), gradients(several))


def test_two_processes_with_32_samples_each_equal_one_with_64(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.training.one_share", str(tmp_path / "gradients")]
    common = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "NODE_RANK": "0",
    }
    both = [subprocess.Popen(command, env={**common, "LOCAL_RANK": str(rank)}) for rank in range(2)]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    shared = load_file(tmp_path / "gradients")
    for name in SHARED:
        _, method, whole = case(name)
        for turn in range(method.turns):
            method.zero_grad()
            loss_and_gradients(method, [whole], START._replace(turn=turn), ALONE)
            assert_close(dict(sorted(gradients(method).items())), below(f"{name}.{turn}", shared))


def below(case: str, shared: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{case}/"
    return {key.removeprefix(start): each for key, each in sorted(shared.items()) if key.startswith(start)}


def test_summed_gradients_lie_in_memory_as_their_parameters_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fused optimizer pairs them by where they lie, and ResNets are in another order than their indices."""
    both = copy.copy(ALONE)
    both.count = 2
    monkeypatch.setattr(distributed, "all_reduce", lambda x: x.mul_(2))  # two processes with equal gradients
    encoder = ResNetEncoder(1, 16, 18).double()
    encoder(torch.randn(2, 1, 16, 16, dtype=torch.float64)).square().sum().backward()
    own = {name: gradient.clone() for name, gradient in gradients(encoder).items()}
    both.sum_gradients(encoder)
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, 2 * own[name]), name
        assert parameter.grad.stride() == parameter.stride(), name


def test_the_generator_goes_on_as_if_each_part_had_been_computed_once() -> None:
    spec = tiny("infmasking")
    method = built(spec)
    parts = cut(batch(method, spec, 8), [4, 4])
    torch.manual_seed(5)
    for part in parts:
        method.features(part, START)
    expected = torch.rand(1)
    torch.manual_seed(5)
    loss_and_gradients(method, parts, START, ALONE)
    assert torch.rand(1) == expected


def test_running_statistics_see_each_part_once() -> None:
    spec = tiny("comm").model_copy(update={"model": Model(dim=16, heads=2, encoder="resnet18")})
    slow = built(spec)
    parts = cut(batch(slow, spec, 8), [4, 4])
    fast = copy.deepcopy(slow)
    in_one_graph(slow, parts, START)
    loss_and_gradients(fast, parts, START, ALONE)
    for (name, one), two in zip(slow.named_buffers(), fast.buffers(), strict=True):
        assert torch.allclose(one, two), name


def test_averaged_weights_follow_the_recurrence() -> None:
    spec = tiny("cross")
    method = built(spec)
    averaged = AveragedWeights(method, 0.9)
    expected = {name: each.detach().clone() for name, each in method.named_parameters()}
    for step in range(1, 30):
        decay = min(0.9, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, parameter in method.named_parameters():
                parameter += torch.randn_like(parameter)
                expected[name] = decay * expected[name] + (1 - decay) * parameter
        averaged.update(step)
    for name, parameter in averaged.network.named_parameters():
        assert torch.allclose(parameter, expected[name]), name
        assert not parameter.requires_grad


def test_averaged_weights_share_what_is_frozen() -> None:
    method = built(tiny("cross"))
    frozen, learning = list(method.parameters())[:2]
    frozen.requires_grad_(False)
    averaged = AveragedWeights(method, 0.9)
    averaged.update(1)
    own = list(averaged.network.parameters())
    assert own[0] is frozen
    assert own[1] is not learning
