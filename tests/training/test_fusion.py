"""The fast fusion equals the slow, obvious one: a full sequence per view, through torch's own attention, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.golden_numbers import golden
from training.modules.fusion import Block, FusionTransformer, quick_gelu

CASES = golden("fusion.json")


def slow_block(block: Block, x: Tensor) -> Tensor:
    """torch.nn.MultiheadAttention with the block's weights, over x (1, S, D)."""
    dim = x.shape[-1]
    attention = nn.MultiheadAttention(dim, block.heads, batch_first=True).to(x)
    names = {"in_proj_weight": block.in_proj_weight, "in_proj_bias": block.in_proj_bias,
             "out_proj.weight": block.out_proj.weight, "out_proj.bias": block.out_proj.bias}  # fmt: skip
    normed = block.ln_1(x)
    x = x + torch.func.functional_call(attention, names, (normed, normed, normed), {"need_weights": False})[0]
    return x + block.proj(quick_gelu(block.fc(block.ln_2(x))))


def slow_view(
    fusion: FusionTransformer, tokens: list[Tensor], keep: list[Tensor], there: list[Tensor]
) -> Tensor:
    """One view of one sample: tokens (Lₘ, D), keep and there (Lₘ) → (D)."""
    rows = [fusion.cls_token[0, 0]]
    for own, kept, has in zip(tokens, keep, there, strict=True):
        for token, is_kept, is_there in zip(own, kept, has, strict=True):
            if is_there:
                rows.append(token if is_kept else fusion.mask_token[0, 0])
    x = torch.stack(rows)[None]
    for block in fusion.blocks:
        x = slow_block(block, x)
    return fusion.ln_out(x)[0, 0]


def slow_views(
    fusion: FusionTransformer, tokens: list[Tensor], keep: list[Tensor], sees: Tensor, there: list[Tensor]
) -> Tensor:
    n_views, batch = keep[0].shape[:2]
    return torch.stack([
        torch.stack([
            slow_view(fusion, [t[b] for t in tokens], [k[v, b] for k in keep],
                      [h[b] & sees[v, m] for m, h in enumerate(there)])
            for b in range(batch)
        ])
        for v in range(n_views)
    ])  # fmt: skip


def loaded(case: dict[str, Any]) -> tuple[FusionTransformer, list[Tensor], list[Tensor]]:
    """The fusion, tokens and keep masks of a golden case, drawn in the order its README gives."""
    random, dim = np.random.RandomState(case["seed"]), case["dim"]

    def draw(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
        return torch.from_numpy(random.standard_normal(shape) * scale + shift)

    state = {"cls_token": draw(1, 1, dim), "mask_token": draw(1, 1, dim)}
    for i in range(case["layers"]):
        for name, shape, scale, shift in (
            ("ln_1.weight", (dim,), 0.1, 1), ("ln_1.bias", (dim,), 0.1, 0),
            ("in_proj_weight", (3 * dim, dim), dim**-0.5, 0), ("in_proj_bias", (3 * dim,), 0.1, 0),
            ("out_proj.weight", (dim, dim), dim**-0.5, 0), ("out_proj.bias", (dim,), 0.1, 0),
            ("ln_2.weight", (dim,), 0.1, 1), ("ln_2.bias", (dim,), 0.1, 0),
            ("fc.weight", (4 * dim, dim), dim**-0.5, 0), ("fc.bias", (4 * dim,), 0.1, 0),
            ("proj.weight", (dim, 4 * dim), (4 * dim) ** -0.5, 0), ("proj.bias", (dim,), 0.1, 0),
        ):  # fmt: skip
            state[f"blocks.{i}.{name}"] = draw(*shape, scale=scale, shift=shift)
    state["ln_out.weight"], state["ln_out.bias"] = draw(dim, scale=0.1, shift=1), draw(dim, scale=0.1)
    fusion = FusionTransformer(dim, case["heads"], case["layers"]).double()
    fusion.load_state_dict(state)
    tokens = [draw(case["batch"], length, dim) for length in case["token_counts"]]
    keeps = [
        [random.uniform(size=(case["batch"], length)) > case["mask_ratio"] for length in case["token_counts"]]
        for _ in range(case["n_masks"])
    ]
    keep = [torch.from_numpy(np.stack([view[m] for view in keeps])) for m in range(len(tokens))]
    return fusion, tokens, keep


def fingerprint(embedding: Tensor) -> list[float]:
    return [*embedding[0, :4].tolist(), embedding.square().sum().item()]


@pytest.mark.parametrize("case", CASES, ids=[str(case["seed"]) for case in CASES])
def test_masked_fused_and_single_views_equal_the_golden_numbers(case: dict[str, Any]) -> None:
    fusion, tokens, keep = loaded(case)
    n_modalities = len(tokens)
    clean = [torch.ones(1 + n_modalities, *k.shape[1:], dtype=torch.bool) for k in keep]
    sees = torch.cat([torch.ones(1, n_modalities), torch.eye(n_modalities)]).bool()

    masked = fusion.forward_views(tokens, keep)
    unmasked = fusion.forward_views(tokens, clean, sees)

    assert [fingerprint(each) for each in masked] == [
        pytest.approx(each, rel=1e-8) for each in case["masked"]
    ]
    assert fingerprint(unmasked[0]) == pytest.approx(case["fused"], rel=1e-8)
    assert [fingerprint(each) for each in unmasked[1:]] == [
        pytest.approx(each, rel=1e-8) for each in case["single"]
    ]


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("lengths", [(5, 7), (4, 1, 6)], ids=["2 modalities", "3 modalities"])
@pytest.mark.parametrize("padded", [False, True], ids=["no padding", "padding"])
def test_all_views_and_their_gradients_equal_a_loop_over_full_sequences(
    layers: int, lengths: tuple[int, ...], padded: bool
) -> None:
    torch.manual_seed(layers + len(lengths))
    fusion = FusionTransformer(16, 4, layers).double()
    tokens = [torch.randn(3, length, 16, dtype=torch.float64, requires_grad=True) for length in lengths]
    n_views = 6
    keep = [torch.rand(n_views, 3, length) > 0.6 for length in lengths]
    sees = torch.rand(n_views, len(lengths)) > 0.3
    sees[0], sees[1] = True, False
    for each in keep:
        each[2], each[3] = True, False
    there = [torch.arange(length) < torch.randint(1, length + 1, (3, 1)) for length in lengths]
    if not padded:
        there = [torch.ones_like(each) for each in there]
    probe = torch.randn(n_views, 3, 16, dtype=torch.float64)
    leaves = [*tokens, *fusion.parameters()]

    fast = fusion.forward_views(tokens, keep, sees, there if padded else None)
    slow = slow_views(fusion, tokens, keep, sees, there)
    fast_gradients = torch.autograd.grad((fast * probe).sum(), leaves)
    slow_gradients = torch.autograd.grad((slow * probe).sum(), leaves)

    assert torch.allclose(fast, slow, rtol=1e-10, atol=1e-12)
    for name, one, other in zip(range(len(leaves)), fast_gradients, slow_gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-10), name


@pytest.mark.parametrize("layers", [1, 2])
def test_the_plain_forward_is_the_view_that_masks_nothing(layers: int) -> None:
    fusion = FusionTransformer(16, 4, layers).double()
    tokens = [torch.randn(3, 5, 16, dtype=torch.float64), torch.randn(3, 2, 16, dtype=torch.float64)]
    there = [torch.ones(3, 5, dtype=torch.bool), torch.tensor([[True, False], [True, True], [False, False]])]
    keep = [torch.ones(1, *each.shape, dtype=torch.bool) for each in there]
    assert torch.allclose(fusion(tokens, there), fusion.forward_views(tokens, keep, there=there)[0])


@pytest.mark.parametrize("gap", [60.0, 120.0])
def test_extreme_attention_logits_stay_finite_in_float32(gap: float) -> None:
    """One shift serves all views: a view without the dominant token must not divide zero by zero."""
    fusion = FusionTransformer(8, 1, 1)
    block = fusion.blocks[0]
    token = -fusion.cls_token.detach()  # its key points away from that of CLS
    unit = block.ln_1(token)[0, 0].detach()
    with torch.no_grad():
        block.in_proj_bias[:8] = unit * gap / 2 / (unit @ unit) * 8**0.5
        block.in_proj_weight[:8] = 0
        block.in_proj_weight[8:16] = torch.eye(8)
    keep = [torch.ones(2, 1, 1, dtype=torch.bool)]
    views = fusion.forward_views([token], keep, torch.tensor([[True], [False]]))
    assert views.isfinite().all()
    assert not torch.allclose(views[0], views[1])


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="5 heads do not divide the width 16"):
        FusionTransformer(16, 5, 1)
