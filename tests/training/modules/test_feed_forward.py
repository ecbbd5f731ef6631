"""Some rows at a time give what all at once give, gradients included, and dropout drops as many as it should."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.modules.feed_forward import CACHED_BYTES, _FeedForward, feed_forward

WIDTH, HIDDEN = 6, 2048
ROWS = 2 * CACHED_BYTES // (8 * HIDDEN) + 5
"""In float64 two parts, and some more."""


@pytest.fixture
def layers() -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, HIDDEN).double(), nn.Linear(HIDDEN, WIDTH).double()


def test_without_dropout_it_is_two_layers_and_a_rectifier(layers: tuple[nn.Linear, nn.Linear]) -> None:
    first, second = layers
    x = torch.randn(ROWS, WIDTH, dtype=torch.float64, requires_grad=True)
    learned = [x, *first.parameters(), *second.parameters()]
    ours, theirs = feed_forward(x, first, second), second(first(x).relu())
    assert torch.allclose(ours, theirs, atol=1e-12)
    probe = torch.randn_like(ours)
    gradients = [torch.autograd.grad((out * probe).sum(), learned) for out in (ours, theirs)]
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(*gradients, strict=True))


def test_the_gradient_is_that_of_what_was_not_dropped() -> None:
    torch.manual_seed(0)
    shapes = [(4, 3), (5, 3), (5,), (2, 5), (2,)]
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda *given: _FeedForward.apply(*given, 0.4, 3), given)


@pytest.mark.parametrize("share", [0.1, 0.75])
def test_a_share_of_the_hidden_numbers_is_dropped_and_the_rest_makes_up_for_it(share: float) -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(1, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
    with torch.no_grad():
        first.weight.zero_()
        first.bias.fill_(1.0)
        second.weight.copy_(torch.eye(HIDDEN))
        second.bias.zero_()
    hidden = feed_forward(torch.zeros(1000, 1), first, second, share)
    dropped = hidden == 0
    assert dropped.float().mean().item() == pytest.approx(share, abs=0.002)
    assert torch.allclose(hidden[~dropped], torch.tensor(1 / (1 - share)))
    again = feed_forward(torch.zeros(1000, 1), first, second, share) == 0
    assert (again == dropped).float().mean().item() == pytest.approx(share**2 + (1 - share) ** 2, abs=0.01)
    assert dropped.float().mean(0).std() < 2 * (share * (1 - share) / 1000) ** 0.5, "no column is spared"


def test_the_same_seed_drops_the_same(layers: tuple[nn.Linear, nn.Linear]) -> None:
    x = torch.randn(8, WIDTH, dtype=torch.float64)
    torch.manual_seed(1)
    once, another = feed_forward(x, *layers, 0.5), feed_forward(x, *layers, 0.5)
    torch.manual_seed(1)
    assert torch.equal(feed_forward(x, *layers, 0.5), once)
    assert not torch.equal(another, once)


def test_what_autocast_asks_for_changes_nothing(layers: tuple[nn.Linear, nn.Linear]) -> None:
    first, second = (each.float() for each in layers)
    x = torch.randn(8, WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = feed_forward(x.bfloat16(), first, second)
    assert narrow.dtype == torch.float32
    assert torch.equal(narrow, feed_forward(x.bfloat16().float(), first, second))
