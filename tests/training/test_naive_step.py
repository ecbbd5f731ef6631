"""The slow step that ours is measured against computes the same, so that what is measured is the way and not the work."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from tests.naive_step import as_published, masked_alignment, naive_loss
from tests.training.methods.batches import batch, built, tiny
from training.losses.infmasking import masked_alignment as ours
from training.methods import When
from training.methods.infmasking import InfMasking

WHEN = When(epoch=4, max_epochs=10)


@pytest.mark.parametrize("ratio", [0.0, 0.99], ids=["nothing masked", "one modality masked"])
@pytest.mark.parametrize("form", ["pairs", "triples", "affect"])
def test_both_ways_give_the_same_loss_and_gradients_where_masks_leave_no_choice(
    form: str, ratio: float
) -> None:
    names = [each.name for each in tiny("infmasking", form).dataset.modalities]
    ratios = {name: ratio if name == names[0] else 0.0 for name in names}
    spec = tiny("infmasking", form, mask_ratio=ratios, n_masks=3)
    method = built(spec)
    assert isinstance(method, InfMasking)
    method.ignores_padding = True  # the published code passes no padding mask
    given = batch(method, spec, 6)
    method(given, WHEN).loss.backward()
    exact = {name: each.grad.clone() for name, each in method.named_parameters() if each.grad is not None}
    loss = method(given, WHEN).loss.item()
    method.zero_grad()
    slow = naive_loss(as_published(method), given.views, WHEN.epoch, WHEN.max_epochs)
    slow.backward()
    assert slow.item() == pytest.approx(loss, rel=1e-10)
    for name, parameter in method.named_parameters():
        if name in exact and parameter.grad is not None:
            assert torch.allclose(parameter.grad, exact[name], rtol=1e-7, atol=1e-8), name


def test_the_covariance_as_a_matrix_gives_what_ours_gives_without_it() -> None:
    q = normalize(torch.randn(5, 7, dtype=torch.float64), dim=-1)
    k = normalize(torch.randn(4, 5, 7, dtype=torch.float64), dim=-1)
    assert masked_alignment(q, k, 0.1, 0.3).item() == pytest.approx(ours(q, k, 0.1, 0.3).item(), rel=1e-10)
