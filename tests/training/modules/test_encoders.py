"""Encoders: the published shapes, each view its own batch to batch-norms, and no step that sees what it must not."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from tests.naive_step import PlainResNet
from training.modules.encoders import (
    AffectEncoder,
    AlexNetEncoder,
    ColumnsEncoder,
    Encoder,
    ForceEncoder,
    GRUEncoder,
    MLPEncoder,
    ProprioceptionEncoder,
    ResNetEncoder,
    ViTEncoder,
    build_encoder,
    encode,
)
from training.modules.pooling import Pooled
from training.spec import Modality, Model


def parameters(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


@pytest.mark.parametrize(
    ("encoder", "size", "parts", "width", "count"),
    [
        (ResNetEncoder(3, 128, 18), 128, 16, 512, 11_176_512),
        (ResNetEncoder(3, 64, 50), 64, 4, 2048, 23_508_032),
        (AlexNetEncoder(3, 224), 224, 36, 256, 2_469_696),
    ],
    ids=["ResNet-18", "ResNet-50", "AlexNet"],
)
def test_image_encoders_have_the_published_shapes(
    encoder: nn.Module, size: int, parts: int, width: int, count: int
) -> None:
    assert parameters(encoder) == count
    with torch.no_grad():
        assert encoder(torch.randn(2, 3, size, size)).shape == (2, parts, width)
    assert encoder.grid == (parts**0.5, parts**0.5)
    assert encoder.width == width


@pytest.mark.parametrize("size", [33, 48, 64, 100])
def test_the_grid_of_a_resnet_is_what_comes_out(size: int) -> None:
    encoder = ResNetEncoder(1, size, 18)
    with torch.no_grad():
        parts = encoder(torch.randn(1, 1, size, size)).shape[1]
    assert parts == encoder.grid[0] * encoder.grid[1]


@pytest.mark.parametrize(("depth", "n_views"), [(18, 2), (50, 3)])
def test_a_resnet_sees_views_in_one_pass_as_in_one_pass_each(depth: int, n_views: int) -> None:
    torch.manual_seed(0)
    together = ResNetEncoder(1, 16, depth).double()
    for norm in together.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight)  # a fresh block is the identity, which would prove little
    one_by_one = copy.deepcopy(together)
    views = [torch.randn(4, 1, 16, 16, dtype=torch.float64) * (i + 1) for i in range(n_views)]

    fast = encode(together, torch.cat(views), n_views)
    slow = torch.cat([one_by_one(view) for view in views])
    assert torch.allclose(fast, slow, atol=1e-10)
    for (name, mine), theirs in zip(
        together.state_dict().items(), one_by_one.state_dict().values(), strict=True
    ):
        assert torch.allclose(mine, theirs, atol=1e-12), name  # running statistics included

    probe = torch.randn_like(fast)
    mine, theirs = (
        torch.autograd.grad((out * probe).sum(), list(net.parameters()))
        for out, net in ((fast, together), (slow, one_by_one))
    )
    assert all(torch.allclose(a, b, rtol=1e-7, atol=1e-8) for a, b in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("depth", [18, 50])
def test_a_resnet_that_keeps_less_learns_the_same(depth: int) -> None:
    torch.manual_seed(0)
    ours = ResNetEncoder(3, 16, depth).double()
    for norm in ours.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight)
    plain = copy.deepcopy(ours)
    plain.__class__ = PlainResNet
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    outs = [network(images) for network in (ours, plain)]
    probe = torch.randn_like(outs[0])
    gradients = [
        torch.autograd.grad((out * probe).sum(), list(network.parameters()))
        for out, network in zip(outs, (ours, plain), strict=True)
    ]
    assert torch.allclose(outs[0], outs[1], atol=1e-10)
    assert all(torch.allclose(a, b, rtol=1e-7, atol=1e-8) for a, b in zip(*gradients, strict=True))
    for (name, mine), theirs in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-12), name


def test_a_resnet_keeps_seven_tenths_of_what_torch_would_for_the_way_back() -> None:
    ours = ResNetEncoder(3, 64, 18)
    plain = copy.deepcopy(ours)
    plain.__class__ = PlainResNet
    images = torch.randn(2, 3, 64, 64)
    weights = sum(each.nbytes for each in ours.parameters())
    kept, plainly_kept = (kept_bytes(network, images) - weights for network in (ours, plain))
    assert kept < 0.7 * plainly_kept


def kept_bytes(network: nn.Module, x: Tensor) -> int:
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = network(x)
    assert out.requires_grad
    return sum(each.untyped_storage().nbytes() for each in kept.values())


def test_a_resnet_embeds_a_sample_as_if_it_were_alone() -> None:
    encoder = ResNetEncoder(1, 16, 18).double()
    images = torch.randn(5, 1, 16, 16, dtype=torch.float64)
    encoder(images)
    encoder.eval()
    assert torch.allclose(encoder(images)[2], encoder(images[2:3])[0], atol=1e-12)


def test_a_vision_transformer_gives_a_part_per_patch_and_knows_their_places() -> None:
    encoder = ViTEncoder(3, 16, patch=4, width=24, layers=2).double()
    image = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    parts = encoder(image)
    assert parts.shape == (1, 16, 24)
    mirrored = encoder(image.flip(-1)).view(1, 4, 4, 24).flip(2).reshape(1, 16, 24)
    assert not torch.allclose(parts, mirrored)


def test_patches_that_do_not_divide_the_image_are_refused() -> None:
    with pytest.raises(ValueError, match="patches of 3 pixels do not divide an image of 16"):
        ViTEncoder(3, 16, patch=3)


@pytest.mark.parametrize(
    ("name", "width"), [("conv", 256), ("resnet18", 512), ("resnet50", 2048), ("vit", 192), ("auto", 256)]
)
def test_every_image_encoder_can_be_asked_for_and_pooled(name: str, width: int) -> None:
    image = Modality(name="image", kind="image", channels=1, size=16)
    pooled = Pooled(build_encoder(image, Model.model_validate({"encoder": name}), 0))
    assert pooled.width == width
    with torch.no_grad():
        assert pooled(torch.randn(6, 1, 16, 16), n_views=2).shape == (6, width)


def padded(x: Tensor, by: int) -> Tensor:
    """(B, L + by, F): steps of zeros at the end."""
    return torch.cat([x, torch.zeros(len(x), by, x.shape[2], dtype=x.dtype)], dim=1)


def summary(encoder: Encoder, x: Tensor) -> Tensor:
    parts = encoder(x)
    return encoder.summary(parts, encoder.there(x, parts))


@pytest.mark.parametrize("kind", ["affect", "gru"])
def test_padding_has_no_influence_on_a_sequence_encoder(kind: str) -> None:
    encoder = AffectEncoder(20, layers=2, hidden=32) if kind == "affect" else GRUEncoder(20, 16)
    encoder.double().eval()
    x = torch.randn(3, 5, 20, dtype=torch.float64)
    longer = padded(x, 4)
    assert torch.allclose(encoder(longer)[:, :5], encoder(x), atol=1e-12)
    assert encoder.there(longer, encoder(longer)).sum(1).tolist() == [5, 5, 5]
    assert torch.allclose(summary(encoder, longer), summary(encoder, x), atol=1e-12)


def test_an_encoder_that_ignores_padding_reads_all_steps_and_the_last_one_sums_them_up() -> None:
    encoder = AffectEncoder(20, layers=2, hidden=32, ignores_padding=True).double().eval()
    x = torch.randn(3, 5, 20, dtype=torch.float64)
    parts = encoder(padded(x, 4))
    assert not torch.allclose(parts[:, :5], encoder(x), atol=1e-3)
    assert encoder.there(padded(x, 4), parts).all()
    assert torch.equal(summary(encoder, padded(x, 4)), parts[:, -1])
    gru = GRUEncoder(20, 16, ignores_padding=True).double()
    assert torch.equal(summary(gru, padded(x, 4)), gru(padded(x, 4))[:, -1])


@pytest.mark.parametrize("ignores_padding", [False, True])
def test_a_sequence_of_nothing_but_padding_is_still_a_number(ignores_padding: bool) -> None:
    for encoder in (
        AffectEncoder(20, 1, hidden=8, ignores_padding=ignores_padding),
        GRUEncoder(20, 4, ignores_padding=ignores_padding),
    ):
        assert summary(encoder, torch.zeros(2, 5, 20)).isfinite().all()


def test_a_gru_is_computed_in_full_precision_whatever_autocast_asks_for() -> None:
    encoder, x = GRUEncoder(3, 4), torch.randn(2, 5, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = encoder(x.bfloat16())
    assert inside.dtype == torch.float32
    assert torch.equal(inside, encoder(x.bfloat16().float()))


def test_a_gru_is_summed_up_by_the_last_step_that_is_there() -> None:
    encoder = GRUEncoder(3, 4)
    x = torch.randn(2, 6, 3)
    x[0, 2:] = 0
    parts = encoder(x)
    assert torch.equal(summary(encoder, x), torch.stack([parts[0, 1], parts[1, 5]]))


def test_the_affect_transformer_learns_as_torch_s_own_layers_do() -> None:
    torch.manual_seed(0)
    ours = AffectEncoder(20, layers=2, dropout=0.0, hidden=32).double()
    theirs = copy.deepcopy(ours)
    for layer in theirs.layers:
        layer.__class__ = nn.TransformerEncoderLayer
    x = padded(torch.randn(3, 5, 20, dtype=torch.float64), 2)
    outs = [encoder(x) for encoder in (ours, theirs)]
    probe = torch.randn_like(outs[0])
    gradients = [
        torch.autograd.grad((out * probe).sum(), list(encoder.parameters()))
        for out, encoder in zip(outs, (ours, theirs), strict=True)
    ]
    assert torch.allclose(outs[0], outs[1], atol=1e-12)
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(*gradients, strict=True))


def test_the_affect_transformer_is_the_published_one() -> None:
    per_layer = 4 * 40 * 40 + 4 * 40 + 2 * 40 * 2048 + 2048 + 40 + 4 * 40
    assert parameters(AffectEncoder(371)) == 371 * 40 + 5 * per_layer
    assert all(
        isinstance(each, nn.TransformerEncoderLayer) and each.norm_first for each in AffectEncoder(20).layers
    )


def test_a_force_part_sees_all_its_readings_and_none_after_them() -> None:
    encoder = ForceEncoder(16).double()
    readings = torch.randn(1, 96, 6, dtype=torch.float64, requires_grad=True)
    parts = encoder(readings)
    assert parts.shape == (1, 3, 16)
    for t in range(3):
        (slope,) = torch.autograd.grad(parts[0, t].sum(), readings, retain_graph=True)
        seen = (slope[0].abs().sum(-1) > 0).nonzero().flatten().tolist()
        assert seen == list(range(32 * t, 32 * t + 32))


def test_columns_stay_as_they_are() -> None:
    x = torch.randn(3, 5)
    assert torch.equal(ColumnsEncoder(5)(x), x[:, None])


def test_tables_and_proprioception_give_one_part() -> None:
    table, state = MLPEncoder(5, (10, 10)), ProprioceptionEncoder(128)
    assert table(torch.randn(3, 5)).shape == (3, 1, 10)
    assert parameters(table) == 5 * 10 + 10 + 10 * 10 + 10
    assert state(torch.randn(3, 8)).shape == (3, 1, 128)
    widths = (8, 32, 64, 128, 128)
    assert parameters(state) == sum(a * b + b for a, b in pairwise(widths))
