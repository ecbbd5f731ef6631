"""The losses give the published arithmetic's values, and what their equations promise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.golden_numbers import golden
from training.losses import Loss, cmc, comm, cross_modal, cross_self, infmasking, info_nce

CASES = golden("losses.json")


def drawn(case: dict[str, Any], count: int, random: np.random.RandomState) -> list[Tensor]:
    shape = (case["batch"], case["dim"])
    return [torch.from_numpy(random.standard_normal(shape)).requires_grad_() for _ in range(count)]


def computed(case: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
    """The loss, its terms, and the leaves it was computed from."""
    random = np.random.RandomState(case["seed"])
    name = case["loss"]
    if name in ("infmasking", "comm"):
        z1, z2 = (drawn(case, case["n_modalities"] + 1, random) for _ in range(2))
        if name == "comm":
            result, leaves = comm(z1, z2, case["temperature"]), z1 + z2
        else:
            m1, m2 = (drawn(case, case["n_masks"], random) for _ in range(2))
            options = {
                key: case[key] for key in ("temperature", "mask_lambda", "epoch", "max_epochs", "weights")
            }
            result, leaves = (
                infmasking(z1, z2, torch.stack(m1), torch.stack(m2), **options),
                z1 + z2 + m1 + m2,
            )
    elif name == "cmc":
        leaves = drawn(case, case["n_modalities"], random)
        result = cmc(leaves, case["temperature"])
    elif name == "cross_self":
        leaves = drawn(case, 6, random)
        m1, m2, a1, a2, b1, b2 = leaves
        result = cross_self(m1, m2, (a1, a2), (b1, b2), case["temperature"], case["ssl_scale"])
    elif name == "clip":
        leaves = drawn(case, 2, random)
        result = cross_modal(*leaves, case["logit_scale"])
    else:
        leaves = drawn(case, 2, random)
        result = Loss(info_nce(*leaves, case["temperature"]), {})
    return result.loss, result.terms, leaves


@pytest.mark.parametrize("case", CASES, ids=[f"{case['loss']}-{case['seed']}" for case in CASES])
def test_a_loss_equals_the_golden_value_and_gradient(case: dict[str, Any]) -> None:
    loss, terms, leaves = computed(case)
    loss.backward()

    assert loss.item() == pytest.approx(case["value"], rel=1e-9)
    if case.get("terms"):
        assert [term.item() for term in terms.values()] == pytest.approx(case["terms"], rel=1e-9)
    if case.get("grad_norm"):
        norm = math.sqrt(sum(leaf.grad.square().sum().item() for leaf in leaves if leaf.grad is not None))
        assert norm == pytest.approx(case["grad_norm"], rel=1e-8)


def slow_masked_alignment(fused: Tensor, masked: Tensor, temperature: float, spread_weight: float) -> Tensor:
    """One sample after the other, with the covariance as a matrix: the equation as it is printed."""
    q, k = normalize(fused, dim=-1), normalize(masked, dim=-1)
    losses = []
    for b in range(len(q)):
        mean = k[:, b].mean(0)
        covariance = sum(torch.outer(each - mean, each - mean) for each in k[:, b]) / len(k)
        spread = q[b] @ covariance @ q[b] * spread_weight / temperature
        logits = [(q[b] @ mean + spread / 2) / temperature]
        for n in range(len(q)):
            if n != b:
                logits += [q[b] @ each / temperature for each in k[:, n]] + [q[b] @ q[n] / temperature]
        losses.append(torch.logsumexp(torch.stack(logits), 0) - q[b] @ mean / temperature)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("n_masks", [1, 2, 7])
def test_the_masked_alignment_equals_its_equation_written_as_a_loop(n_masks: int) -> None:
    from training.losses.infmasking import masked_alignment

    torch.manual_seed(0)
    fused, masked = torch.randn(5, 8, dtype=torch.float64), torch.randn(n_masks, 5, 8, dtype=torch.float64)
    fast = masked_alignment(fused, masked, 0.2, 1.5)
    assert fast.item() == pytest.approx(slow_masked_alignment(fused, masked, 0.2, 1.5).item(), rel=1e-12)


def test_info_nce_is_symmetric() -> None:
    a, b = torch.randn(6, 4), torch.randn(6, 4)
    assert torch.allclose(info_nce(a, b, 0.1), info_nce(b, a, 0.1))


def test_info_nce_of_equal_embeddings_is_the_logarithm_of_the_candidates() -> None:
    same = torch.ones(8, 4)
    assert info_nce(same, same, 0.1).item() == pytest.approx(math.log(2 * 8 - 1), rel=1e-6)


def test_losses_keep_float32_precision_under_autocast() -> None:
    torch.manual_seed(0)
    z1, z2 = [torch.randn(16, 8) for _ in range(3)], [torch.randn(16, 8) for _ in range(3)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = comm(z1, z2, 0.05).loss
    assert inside.dtype == torch.float32
    assert torch.equal(inside, comm(z1, z2, 0.05).loss)
