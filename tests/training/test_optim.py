"""Learning rates and decay groups are those of the published runs."""

from __future__ import annotations

import pytest
import torch

from tests.training.runs import small
from training.methods import build_method
from training.methods.infmasking import random_keep
from training.modules.heads import GroupedBatchNorm
from training.optim import build_optimizer, learning_rate
from training.spec import Optim


def test_biases_and_norms_do_not_decay_but_the_cls_token_does() -> None:
    method = build_method(small(), vocabulary=0)
    decayed, spared = build_optimizer(method, Optim(weight_decay=0.1)).param_groups
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    spared_names = {names[id(parameter)] for parameter in spared["params"]}
    decayed_names = {names[id(parameter)] for parameter in decayed["params"]}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert all(name.endswith("bias") or "ln_" in name or "head" in name for name in spared_names)
    assert {"fusion.cls_token", "fusion.mask_token"} <= decayed_names
    assert len(spared_names) + len(decayed_names) == len(names)


def test_the_cosine_schedule_warms_up_in_equal_steps_and_ends_at_its_minimum() -> None:
    spec = Optim(lr=1e-3, schedule="cosine", warmup_epochs=10)
    rates = [learning_rate(spec, epoch, 70) for epoch in range(71)]
    assert rates[0] == 1e-6
    assert rates[9] == pytest.approx(1e-3)
    assert rates[1] - rates[0] == pytest.approx((1e-3 - 1e-6) / 9)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[70] == pytest.approx(1e-6)


def test_a_constant_schedule_stays() -> None:
    assert {learning_rate(Optim(lr=0.1), epoch, 5) for epoch in range(5)} == {0.1}


def test_the_grouped_batch_norm_equals_one_call_per_group() -> None:
    torch.manual_seed(0)
    ours, theirs = GroupedBatchNorm(6).double(), torch.nn.BatchNorm1d(6, track_running_stats=False).double()
    with torch.no_grad():
        for name, value in {"weight": torch.rand(6), "bias": torch.rand(6)}.items():
            getattr(ours, name).copy_(value)
            getattr(theirs, name).copy_(value)
    x = torch.randn(4, 8, 6, dtype=torch.float64)
    assert torch.allclose(ours(x), torch.stack([theirs(group) for group in x]), atol=1e-14)


@pytest.mark.parametrize(
    ("length", "ratio", "kept"),
    [
        *[(1, 0.5, 0), (10, 0.5, 5), (50, 0.5, 25), (128, 0.5, 64)],
        *[
            (1, 0.7, 0),
            (10, 0.7, 3),
            (16, 0.7, 4),
            (24, 0.7, 7),
            (36, 0.7, 10),
            (50, 0.7, 15),
            (128, 0.7, 38),
        ],
        *[(1, 0.8, 0), (10, 0.8, 1), (16, 0.8, 3), (24, 0.8, 4), (36, 0.8, 7), (50, 0.8, 9), (128, 0.8, 25)],
        (1, 0.0, 1),
    ],
)
def test_a_masked_view_keeps_the_published_number_of_tokens(length: int, ratio: float, kept: int) -> None:
    keep = random_keep(3, torch.zeros(5, length, 2), ratio)
    assert keep.sum(-1).unique().tolist() == [kept]
