"""The fusion transformer, and masked views of its output at nearly no cost.

B batch, L tokens (Lₘ of modality m), M modalities, D width, H heads, V views, S slots of a compacted sequence.

A *view* of a sample is its token sequence with some modalities left out (their tokens are not there) and some tokens
masked (a shared mask token stands in their place). The output is the CLS row of the last block. Three facts make many
views cheap, and exactly so:

1. Positions are added before fusion, so all masked tokens of a view are equal, in every layer. They count as one
   token whose attention weight is multiplied by their number: its logit is raised by log(count).
2. In the last block only the CLS row is needed, and CLS, before the first block, is a constant. With one block, keys
   and values are therefore projected once per token, there is one query, and a view is nothing but a choice of weights
   in one softmax: numerator Σ wₗ exp(sₗ) vₗ and denominator Σ wₗ exp(sₗ), two matrix products for all views together.
3. With more blocks a view of L tokens is a sequence of CLS, one mask token and the kept tokens only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention, silu

CLS, MASK = 0, 1
"""The first two slots of every sequence in this file."""
LARGEST_GAP = 80.0
"""exp(-80) is still a normal float32, so that the CLS token's weight never vanishes from a denominator."""


def quick_gelu(x: Tensor) -> Tensor:
    """x · σ(1.702 x), written so that one kernel computes it and its gradient needs one tensor less."""
    return silu(1.702 * x) / 1.702


class Block(nn.Module):
    """Pre-norm transformer block: x += attention(LN x); x += MLP(LN x)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(dim)
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        self.ln_2 = nn.LayerNorm(dim)
        self.fc = nn.Linear(dim, 4 * dim)
        self.proj = nn.Linear(4 * dim, dim)

    def initialise(self, layers: int) -> None:
        """The initial scales of CLIP's text transformer, for a stack of `layers` blocks."""
        dim = self.in_proj_weight.shape[1]
        nn.init.normal_(self.in_proj_weight, std=dim**-0.5)
        nn.init.normal_(self.out_proj.weight, std=dim**-0.5 * (2 * layers) ** -0.5)
        nn.init.normal_(self.fc.weight, std=(2 * dim) ** -0.5)
        nn.init.normal_(self.proj.weight, std=dim**-0.5 * (2 * layers) ** -0.5)

    def project(self, x: Tensor) -> Tensor:
        """Queries, keys and values of x (…, S, D), side by side: (…, S, 3D)."""
        return linear(self.ln_1(x), self.in_proj_weight, self.in_proj_bias)

    def project_keys(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values alone, (…, S, D) each."""
        dim = x.shape[-1]
        key, value = linear(self.ln_1(x), self.in_proj_weight[dim:], self.in_proj_bias[dim:]).chunk(2, dim=-1)
        return key, value

    def project_query(self, x: Tensor) -> Tensor:
        dim = x.shape[-1]
        return linear(self.ln_1(x), self.in_proj_weight[:dim], self.in_proj_bias[:dim])

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """What follows the attention, for x and its attention output, both (…, D)."""
        x = x + self.out_proj(attended)
        return x + self.proj(quick_gelu(self.fc(self.ln_2(x))))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """All rows of x (N, S, D); `bias` (N, S) is added to the logits of each key."""
        return self.finish(x, self.attend(self.project(x), bias))

    def attend(self, projected: Tensor, bias: Tensor) -> Tensor:
        """Self-attention of projected (N, S, 3D) → (N, S, D)."""
        query, key, value = (self._by_head(each) for each in projected.chunk(3, dim=-1))
        mask = bias[:, None, None, :].to(query.dtype)
        return scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)

    def forward_first(self, x: Tensor, bias: Tensor) -> Tensor:
        """The first row only, (N, D), of the block's output for x (N, S, D)."""
        query = self._by_head(self.project_query(x[:, :1]))
        key, value = (self._by_head(each) for each in self.project_keys(x))
        mask = bias[:, None, None, :].to(query.dtype)
        attended = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.finish(x[:, 0], attended.transpose(1, 2).flatten(2)[:, 0])

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (N, H, S, D/H)


class FusionTransformer(nn.Module):
    """Tokens of all modalities in, one vector out: a CLS token attends to them through `layers` blocks.

    Raises ValueError when `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int, layers: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads do not divide the width {dim}")
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.mask_token = nn.Parameter(torch.empty(1, 1, dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(layers))
        for block in self._blocks:
            block.initialise(layers)
        self.ln_out = nn.LayerNorm(dim)

    def forward(self, tokens: Sequence[Tensor], there: Sequence[Tensor]) -> Tensor:
        """The fused embedding (B, D) of one unmasked view.

        tokens: per modality (B, Lₘ, D). there: per modality (B, Lₘ) booleans, false for padding and for all tokens of
        a modality that a sample lacks. Free of shapes that depend on values, so that it can be exported.
        """
        x = torch.cat([self.cls_token.expand(tokens[0].shape[0], -1, -1), *tokens], dim=1)
        visible = torch.cat(list(there), dim=1)
        bias = torch.where(visible, 0.0, -torch.inf)
        bias = torch.cat([bias.new_zeros(bias.shape[0], 1), bias], dim=1)
        *blocks, last = self._blocks
        for block in blocks:
            x = block(x, bias)
        return self.ln_out(last.forward_first(x, bias))

    def forward_views(
        self,
        tokens: Sequence[Tensor],
        keep: Sequence[Tensor],
        sees: Tensor | None = None,
        there: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Fused embeddings of V views of every sample, (V, B, D).

        tokens: per modality (B, Lₘ, D).
        keep: per modality (V, B, Lₘ) booleans; false puts the mask token in a token's place.
        sees: (V, M) booleans, which modalities a view has; all by default.
        there: per modality (B, Lₘ) booleans; false is padding, which no view has. All true by default.
        """
        x = torch.cat(list(tokens), dim=1)  # (B, L, D)
        kept = torch.cat(list(keep), dim=2)  # (V, B, L)
        has = torch.ones_like(kept) if sees is None else _per_token(sees, tokens).expand_as(kept)
        if there is not None:
            has = has & torch.cat(list(there), dim=1)
        n_masked = (has & ~kept).sum(-1)  # (V, B)
        visible = has & kept
        views = self._one_block if len(self.blocks) == 1 else self._many_blocks
        return self.ln_out(views(x, visible, n_masked))

    @property
    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def _with_constants(self, x: Tensor) -> Tensor:
        """CLS and mask token before the tokens: (B, 2 + L, D)."""
        batch = x.shape[0]
        return torch.cat(
            [self.cls_token.expand(batch, -1, -1), self.mask_token.expand(batch, -1, -1), x], dim=1
        )

    def _one_block(self, x: Tensor, visible: Tensor, n_masked: Tensor) -> Tensor:
        """One softmax, re-weighted for every view (fact 2)."""
        block = self._blocks[0]
        query = block.project_query(self.cls_token).view(block.heads, -1)  # (H, D/H)
        key, value = (
            each.unflatten(-1, (block.heads, -1)) for each in block.project_keys(self._with_constants(x))
        )
        logits = (key * query).sum(-1) * query.shape[-1] ** -0.5  # (B, S, H)
        counts = torch.stack([torch.ones_like(n_masked), n_masked], dim=-1)
        weights = torch.cat([counts, visible], dim=-1).transpose(0, 1).to(value.dtype)  # (B, V, S)
        exponents = torch.exp(logits - _shift(logits))  # (B, S, H)
        numerator = torch.bmm(weights, (exponents[..., None] * value).flatten(2)).unflatten(
            -1, (block.heads, -1)
        )
        denominator = torch.bmm(weights, exponents)[..., None]
        attended = (numerator / denominator).flatten(2).transpose(0, 1)  # (V, B, D)
        return block.finish(self.cls_token.squeeze(0), attended)

    def _many_blocks(self, x: Tensor, visible: Tensor, n_masked: Tensor) -> Tensor:
        """Compacted sequences (fact 3), for groups of neighbouring views that keep equally many tokens."""
        widest = visible.sum(-1).amax(1).tolist()  # (V,)
        x = self._with_constants(x)
        projected = self._blocks[0].project(x)  # (B, S, 3D), once for all views
        outputs, start = [], 0
        for width, views in groupby(widest):
            end = start + len(list(views))
            outputs.append(self._compacted(x, projected, visible[start:end], n_masked[start:end], width))
            start = end
        return torch.cat(outputs)

    def _compacted(
        self, x: Tensor, projected: Tensor, visible: Tensor, n_masked: Tensor, width: int
    ) -> Tensor:
        n_views, batch = n_masked.shape
        order = visible.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)[
            ..., :width
        ]  # (V, B, width)
        filled = visible.gather(-1, order)
        slots = torch.cat([order.new_tensor([CLS, MASK]).expand(n_views, batch, 2), order + 2], dim=-1)
        bias = torch.cat(
            [
                torch.zeros_like(n_masked)[..., None],
                n_masked.to(x.dtype).log()[..., None],
                torch.where(filled, 0.0, -torch.inf),
            ],
            dim=-1,
        ).flatten(0, 1)  # (V·B, 2 + width)
        first, *middle, last = self._blocks
        own, own_projected = (_gathered(each, slots) for each in (x, projected))
        h = first.finish(own, first.attend(own_projected, bias))
        for block in middle:
            h = block(h, bias)
        return last.forward_first(h, bias).view(n_views, batch, -1)


def _per_token(sees: Tensor, tokens: Sequence[Tensor]) -> Tensor:
    """(V, M) per modality → (V, 1, L) per token.

    Not by repeat_interleave, which asks the device how long its result will be: that waits, and breaks a compiled graph.
    """
    columns = [sees[:, m : m + 1].expand(-1, each.shape[1]) for m, each in enumerate(tokens)]
    return torch.cat(columns, dim=1)[:, None]


def _shift(logits: Tensor) -> Tensor:
    """What to subtract from logits (B, S, H) before exp: their maximum, but never so much that CLS vanishes.

    One shift serves all views, also those that do not have the token with the largest logit.
    """
    return torch.minimum(logits.amax(1, keepdim=True), logits[:, CLS : CLS + 1] + LARGEST_GAP).detach()


def _gathered(x: Tensor, slots: Tensor) -> Tensor:
    """Rows `slots` (V, B, S) of x (B, L, D) → (V·B, S, D)."""
    batch = torch.arange(len(x), device=x.device)[None, :, None]
    return x[batch, slots].flatten(0, 1)
