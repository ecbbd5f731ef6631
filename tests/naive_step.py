"""InfMasking's step as the published code computes it: the slow, obvious way that ours is measured against.

Each augmentation goes through the encoders by itself. Of each modality alone and of all together, one clean view and T
masked ones are made, each a whole sequence through every block by torch's own attention, of which one row is used, and
each through the head by itself. The loss reads the masked views of all modalities only. Its covariance stands as a
matrix (B, E, E), and the alignment of the two fusions is computed twice. `as_published` sees to it that encoders keep and
compute what torch's own layers do.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, multi_head_attention_forward, normalize, relu

from training.losses import info_nce
from training.methods import Inputs
from training.methods.infmasking import InfMasking
from training.modules.encoders.convolutional import AlexNetEncoder
from training.modules.encoders.resnet import ResNetEncoder, _Block
from training.modules.encoders.sequences import AffectLayer
from training.modules.fusion import Block, FusionTransformer, quick_gelu


def as_published(method: InfMasking) -> InfMasking:
    """The same network, with its encoders' layers as torch has them."""
    for module in list(method.modules()):
        if isinstance(module, AffectLayer):
            module.__class__ = nn.TransformerEncoderLayer  # type: ignore[assignment]
        elif isinstance(module, ResNetEncoder):
            module.__class__ = PlainResNet
        elif isinstance(module, AlexNetEncoder):
            module.__class__ = PlainAlexNet
    return method


class PlainAlexNet(AlexNetEncoder):
    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features.flatten(2).transpose(1, 2)


class PlainResNet(ResNetEncoder):
    def forward(self, x: Tensor, n_views: int = 1) -> Tensor:
        x = max_pool2d(relu(self.stem_norm(self.stem(x))), 3, stride=2, padding=1)
        for block in self.blocks:
            assert isinstance(block, _Block)
            out = block.convolutions[0](x)
            for norm, convolution in zip(block.norms[:-1], block.convolutions[1:], strict=True):
                out = convolution(relu(norm(out)))
            out = block.norms[-1](out)
            if block.shortcut is not None and block.shortcut_norm is not None:
                x = block.shortcut_norm(block.shortcut(x))
            x = relu(x + out)
        return x.flatten(2).transpose(1, 2)


def naive_loss(method: InfMasking, views: list[Inputs], epoch: int, max_epochs: int) -> Tensor:
    options = method.options
    clean: list[list[Tensor]] = []
    masked: list[list[Tensor]] = []
    for view in views:
        tokens, _ = method.tokens(view)
        subsets = [[m] for m in range(len(tokens))] + [list(range(len(tokens)))]
        clean.append([_head(method, fused(method.fusion, [tokens[m] for m in seen])) for seen in subsets])
        per_subset = [
            torch.stack([
                _head(method, fused(method.fusion, [_masked(method, tokens[m], m) for m in seen]))
                for _ in range(options.n_masks)
            ])
            for seen in subsets
        ]  # fmt: skip
        masked.append(per_subset)
    spread = options.mask_lambda * (epoch + 1) / max_epochs
    temperature = options.temperature
    terms = [masked_alignment(clean[a][-1], masked[a][-1], temperature, spread) for a in range(2)]
    for i in range(len(clean[0])):
        both = info_nce(clean[0][i], clean[1][-1], temperature) + info_nce(
            clean[1][i], clean[0][-1], temperature
        )
        terms.append(both / 2)
    weights = options.weights or [1.0] * len(terms)
    return torch.stack([weight * term for weight, term in zip(weights, terms, strict=True)]).mean()


def fused(fusion: FusionTransformer, tokens: list[Tensor]) -> Tensor:
    """(B, D): the first row of what all rows become."""
    x = torch.cat([fusion.cls_token.expand(len(tokens[0]), -1, -1), *tokens], dim=1)
    for block in fusion.blocks:
        assert isinstance(block, Block)
        x = full_block(block, x)
    out: Tensor = fusion.ln_out(x)
    return out[:, 0]


def full_block(block: Block, x: Tensor) -> Tensor:
    """All rows of the block's output, by torch's own multi-head attention."""
    normed = block.ln_1(x).transpose(0, 1)
    attended, _ = multi_head_attention_forward(
        normed, normed, normed, x.shape[-1], block.heads, block.in_proj_weight, block.in_proj_bias, None, None, False,
        0.0, block.out_proj.weight, block.out_proj.bias, need_weights=False,
    )  # fmt: skip
    x = x + attended.transpose(0, 1)
    return x + block.proj(quick_gelu(block.fc(block.ln_2(x))))


def _masked(method: InfMasking, tokens: Tensor, m: int) -> Tensor:
    """The mask token in place of all but a random share of each sample's tokens."""
    batch, length, _ = tokens.shape
    ratio = method.options.mask_ratio
    if isinstance(ratio, dict):
        ratio = ratio[method.modalities[m].name]
    assert isinstance(ratio, float)
    kept = torch.rand(batch, length, device=tokens.device).argsort(dim=1) < int(length * (1 - ratio))
    return torch.where(kept[..., None], tokens, method.fusion.mask_token)


def _head(method: InfMasking, embedding: Tensor) -> Tensor:
    out: Tensor = method.head(embedding[None])[0]
    return normalize(out, dim=-1)


def masked_alignment(q: Tensor, k: Tensor, temperature: float, spread: float) -> Tensor:
    """q (B, E), k (T, B, E), normalised."""
    count, batch, _ = k.shape
    mean = k.mean(0)
    offset = k - mean
    covariance = torch.einsum("tbi,tbj->bij", offset, offset) / count  # (B, E, E)
    v = torch.einsum("bi,bij,bj->b", q, covariance, q) * spread / temperature
    positive = (q * mean).sum(-1) + v / 2
    negatives = torch.cat([k, q[None]]).flatten(0, 1)  # ((T + 1) · B, E)
    itself = torch.eye(batch, dtype=torch.bool, device=q.device).repeat(1, count + 1)
    logits = (
        torch.cat([positive[:, None], (q @ negatives.T).masked_fill(itself, -math.inf)], dim=1) / temperature
    )
    return (v / (2 * temperature)).mean() + (logits.logsumexp(1) - logits[:, 0]).mean()
