"""Cross+Self, CMC, SimCLR and SLIP: one pass through each tower equals a pass for each view, and the losses' algebra."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from tests.training.methods.batches import START, batch, built, inputs, tiny
from training.losses import cmc, cross_modal, cross_self, info_nce, simclr, slip
from training.methods import Batch
from training.methods.cmc import CMC
from training.methods.cross_self import CrossSelf
from training.methods.simclr import SimCLR
from training.methods.slip import SLIP


def headed(head: nn.Module, x: Tensor) -> Tensor:
    """A head's output for one view: a batch of its own to the batch-norms."""
    out: Tensor = head(x[None])[0]
    return out


@pytest.mark.parametrize("form", ["pairs", "captions"])
def test_cross_self_equals_six_passes_one_after_the_other(form: str) -> None:
    spec = tiny("cross_self", form, ssl_scale=0.7)
    method = built(spec)
    assert isinstance(method, CrossSelf)
    given = batch(method, spec, 6)
    projected = [
        [
            headed(head, method.pooled[modality.name](view[modality.name]))
            for modality, head in zip(method.modalities, method.heads, strict=True)
        ]
        for view in given.views
    ]
    (m1, m2), (a1, a2), (b1, b2) = projected
    expected = info_nce(m1, m2, 0.1) + 0.7 * (info_nce(a1, b1, 0.1) + info_nce(a2, b2, 0.1)) / 2
    assert method(given, START).loss.item() == pytest.approx(expected.item(), rel=1e-10)


def test_cross_self_does_not_care_which_modality_comes_first() -> None:
    m1, m2, a, b, c, d = (torch.randn(5, 4, dtype=torch.float64) for _ in range(6))
    one, other = cross_self(m1, m2, (a, b), (c, d), 0.1, 1.0), cross_self(m2, m1, (c, d), (a, b), 0.1, 1.0)
    assert one.loss.item() == pytest.approx(other.loss.item())


def test_cross_self_at_chance_is_the_logarithm_of_the_candidates_for_each_term() -> None:
    same = torch.ones(8, 4)
    loss = cross_self(same, same, (same, same), (same, same), 0.1, 0.5).loss
    assert loss.item() == pytest.approx(1.5 * math.log(15), rel=1e-6)


@pytest.mark.parametrize("form", ["pairs", "captions", "triples"])
def test_cmc_is_the_mean_over_all_pairs_of_modalities(form: str) -> None:
    spec = tiny("cmc", form)
    method = built(spec)
    assert isinstance(method, CMC)
    given = batch(method, spec, 6)
    projected = [
        project(method.pooled[modality.name](given.views[0][modality.name]))
        for modality, project in zip(method.modalities, method.projections, strict=True)
    ]
    pairs = [info_nce(a, b, 0.1) for a, b in combinations(projected, 2)]
    assert method(given, START).loss.item() == pytest.approx(sum(pairs).item() / len(pairs), rel=1e-10)


def test_cmc_takes_up_to_eight_modalities_in_any_order() -> None:
    embeddings = [torch.randn(5, 4, dtype=torch.float64) for _ in range(8)]
    loss, terms = cmc(embeddings, 0.1)
    assert len(terms) == 28
    assert cmc(embeddings[::-1], 0.1).loss.item() == pytest.approx(loss.item())


def test_cmc_at_chance_is_the_logarithm_of_the_candidates() -> None:
    assert cmc([torch.ones(8, 4)] * 3, 0.1).loss.item() == pytest.approx(math.log(15), rel=1e-6)


def test_simclr_equals_a_pass_for_each_view() -> None:
    spec = tiny("simclr")
    method = built(spec)
    assert isinstance(method, SimCLR)
    given = batch(method, spec, 6)
    one, two = (headed(method.head, method.pooled["image"](view["image"])) for view in given.views)
    assert method(given, START).loss.item() == pytest.approx(info_nce(one, two, 0.1).item(), rel=1e-10)


def test_simclr_sees_its_image_and_nothing_else() -> None:
    spec = tiny("simclr", "triples", image="image2")
    method = built(spec)
    assert [modality.name for modality in method.modalities] == ["image2"]
    given = batch(method, spec, 6)
    other = inputs(spec, 6)
    elsewhere = [{**other, "image2": view["image2"]} for view in given.views]
    assert torch.equal(method(given, START).loss, method(Batch(elsewhere, {}), START).loss)


def test_simclr_at_chance_is_the_logarithm_of_the_candidates() -> None:
    assert simclr(torch.ones(8, 4), torch.ones(8, 4), 0.1).loss.item() == pytest.approx(
        math.log(15), rel=1e-6
    )


@pytest.mark.parametrize(("form", "image"), [("captions", None), ("pairs", "image2")])
def test_slip_is_clip_on_the_first_view_and_simclr_on_the_others(form: str, image: str | None) -> None:
    spec = tiny("slip", form, image=image, ssl_scale=0.3)
    method = built(spec)
    assert isinstance(method, SLIP)
    given = batch(method, spec, 6)
    a, b = (
        method.projections[each.name](method.pooled[each.name](given.views[0][each.name]))
        for each in method.modalities
    )
    chosen = image or "image"
    one, two = (headed(method.head, method.pooled[chosen](view[chosen])) for view in given.views[1:])
    clip = cross_modal(a, b, 1 / 0.07)
    expected = clip.loss + 0.3 * info_nce(one, two, 0.1)
    loss, terms = method(given, START)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert terms["cross"].item() == pytest.approx(clip.loss.item(), rel=1e-6)


def test_slip_at_chance_is_the_sum_of_both_logarithms() -> None:
    same = torch.ones(8, 4)
    assert slip(same, same, same, same, 10.0, 0.1, 2.0).loss.item() == pytest.approx(
        math.log(8) + 2 * math.log(15), rel=1e-6
    )


def test_slip_does_not_care_which_modality_or_view_comes_first() -> None:
    a, b, one, two = (torch.randn(5, 4, dtype=torch.float64) for _ in range(4))
    assert slip(a, b, one, two, 10.0, 0.1, 1.0).loss.item() == pytest.approx(
        slip(b, a, two, one, 10.0, 0.1, 1.0).loss.item()
    )


@pytest.mark.parametrize("start", [-3.0, 9.0])
def test_the_learned_scale_stays_within_clips_bounds(start: float) -> None:
    method = built(tiny("slip"))
    assert isinstance(method, SLIP)
    with torch.no_grad():
        method.log_scale.fill_(start)
    method.after_step()
    assert method.log_scale.item() == pytest.approx(0.0 if start < 0 else math.log(100))
