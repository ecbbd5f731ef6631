"""Numbers on the scale of the training data."""

from __future__ import annotations

import torch

from training.modules.scaling import Scale


def test_what_has_been_learned_from_has_no_mean_and_unit_deviation() -> None:
    values = torch.randn(200, 3, dtype=torch.float64) * torch.tensor([1e-3, 1.0, 1e4]) + 7
    scale = Scale(3).double()
    assert torch.equal(scale(values), values)  # nothing learned yet
    scale.learn(values)
    assert torch.allclose(scale(values).mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-10)
    assert torch.allclose(scale(values).std(0, correction=0), torch.ones(3, dtype=torch.float64))


def test_a_constant_becomes_nothing_and_not_a_rounding_error_made_large() -> None:
    scale = Scale(1)
    values = torch.full((10, 1), 0.1)
    scale.learn(values)
    assert scale(values).abs().max() < 1e-6


def test_a_scale_is_saved_with_the_weights() -> None:
    assert set(Scale(2).state_dict()) == {"mean", "std"}
