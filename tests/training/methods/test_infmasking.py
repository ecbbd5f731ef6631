"""InfMasking's masks as a knob: how many, how much of what, in how much memory, weighted how."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.methods.batches import START, batch, built, tiny
from tests.training.runs import small
from training.losses import Loss
from training.methods import Method
from training.methods.infmasking import InfMasking
from training.spec import TrainSpec


def computed(spec: TrainSpec, size: int = 6) -> tuple[Loss, dict[str, Tensor | None]]:
    """The loss and all gradients, with masks that depend on the seed alone."""
    method = built(spec)
    given = batch(method, spec, size)
    torch.manual_seed(5)
    loss = method(given, START)
    loss.loss.backward()
    return loss, {name: each.grad for name, each in method.named_parameters()}


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("views_per_chunk", [1, 3, 1024])
def test_chunks_of_views_give_the_same_loss_and_gradients(layers: int, views_per_chunk: int) -> None:
    method = {"name": "infmasking", "n_masks": 5}
    whole = small(method=method, dataset={"form": "triples"}, model={"layers": layers})
    chunked = small(
        method={**method, "views_per_chunk": views_per_chunk},
        dataset={"form": "triples"},
        model={"layers": layers},
    )
    (one, one_gradients), (two, two_gradients) = computed(whole), computed(chunked)
    assert two.loss.item() == pytest.approx(one.loss.item(), rel=1e-12)
    for name, gradient in one_gradients.items():
        assert torch.allclose(gradient, two_gradients[name], rtol=1e-8, atol=1e-12), name


def held(method: Method, spec: TrainSpec) -> int:
    """Bytes that the forward pass keeps for the backward pass, parameters and shared storages counted once."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    given = batch(method, spec, 8)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        method(given, START)
    return sum(storages.values())


def masked(n_masks: int, image_size: int = 8, dim: int = 16, **options: Any) -> TrainSpec:
    return small(
        method={"name": "infmasking", "n_masks": n_masks, **options},
        dataset={"image_size": image_size},
        model={"dim": dim, "heads": 2},
    )


def test_a_masked_view_costs_memory_by_its_batch_and_width_and_not_by_its_tokens() -> None:
    """Were it by tokens, 16 times the tokens would cost 16 times as much; keep masks alone do, a byte or so a token."""

    def per_view(image_size: int) -> float:
        few, many = (masked(n, image_size) for n in (8, 40))
        return (held(built(many), many) - held(built(few), few)) / 32

    one_row = 2 * 8 * 16 * 8  # both augmentations, batch, width, bytes of a float64
    small_image, large_image = per_view(8), per_view(32)  # 2 × 16 and 2 × 64 tokens
    assert small_image < 60 * one_row
    assert large_image < 1.8 * small_image


def test_chunks_hold_less_memory() -> None:
    whole, chunked = masked(64), masked(64, views_per_chunk=4)
    assert held(built(chunked), chunked) < held(built(whole), whole) / 2


def test_a_thousand_masked_views_are_one_step() -> None:
    spec = masked(1024)
    method = built(spec)
    assert method(batch(method, spec, 4), START).loss.isfinite()


def test_each_modality_keeps_its_own_share_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny("infmasking", mask_ratio={"image": 0.5, "text": 0.0})
    method = built(spec)
    assert isinstance(method, InfMasking)
    seen: list[list[Tensor]] = []
    forward_views = method.fusion.forward_views

    def spying(tokens: Any, keep: list[Tensor], *rest: Any) -> Tensor:
        seen.append(keep)
        return forward_views(tokens, keep, *rest)

    monkeypatch.setattr(method.fusion, "forward_views", spying)
    method(batch(method, spec, 4), START)
    image, text = seen[0]
    assert image[3:].sum(-1).unique().tolist() == [8]  # of 16, in the views after the three clean ones
    assert text.all()


def test_a_range_of_ratios_changes_from_step_to_step() -> None:
    spec = tiny("infmasking", mask_ratio={"low": 0.1, "high": 0.9})
    method = built(spec)
    given = batch(method, spec, 4)
    torch.manual_seed(0)
    losses = {method(given, START).loss.item() for _ in range(4)}
    assert len(losses) == 4
    torch.manual_seed(0)
    assert {method(given, START).loss.item() for _ in range(4)} == losses


def test_a_constant_schedule_weighs_the_spread_as_the_linear_one_does_in_the_end() -> None:
    linear, constant = tiny("infmasking"), tiny("infmasking", lambda_schedule="constant")
    method, other = built(linear), built(constant)
    given = batch(method, linear, 6)
    values = []
    for each, epoch in ((method, 9), (other, 0), (other, 9), (method, 0)):
        torch.manual_seed(3)
        values.append(each(given, START._replace(epoch=epoch)).loss.item())
    assert values[0] == values[1] == values[2] != values[3]


def test_the_entropy_penalty_reaches_the_loss() -> None:
    (plain, _), (spread, _) = (computed(tiny("infmasking", entropy_penalty=each)) for each in (0.0, 0.5))
    assert spread.loss.item() == pytest.approx(plain.loss.item() - 0.5 * spread.terms["entropy"].item())
