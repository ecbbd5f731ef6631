"""Means and products of columns, whatever parts their samples are summed in."""

from __future__ import annotations

import pytest
import torch

from training.probe import moments as module
from training.probe.moments import moments


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_parts_are_sized_for_the_device(kind: str) -> None:
    """A processor's cache holds a small part; to a GPU each part is some launches, which take longer than its products."""
    assert module.samples_at_once(torch.device(kind)) == {"cpu": 1024, "cuda": 16_384}[kind]


@pytest.mark.parametrize("part", [7, 50, 1000])
def test_the_size_of_the_parts_changes_nothing(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "samples_at_once", lambda _: part)
    torch.manual_seed(0)
    x, y = torch.randn(50, 4, dtype=torch.float64) + 3, torch.randn(50, 2, dtype=torch.float64)
    mean, products = moments(x, y)
    both = torch.cat([x, y], dim=1)
    centred = both - both.mean(0)
    assert torch.allclose(mean, both.mean(0), atol=1e-12)
    assert torch.allclose(products, centred.T @ centred, atol=1e-10)
