"""Batch-norm of several views, and what follows it in a ResNet. V views, B batch, C channels.

While a network trains, what is kept for the way back is most of the memory it takes. On a CPU less is kept than torch would
keep: a rectified norm is computed again from what was normalised, and pooling before rectifying, which is the same, leaves a
quarter to rectify.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, relu

POOL = ([3, 3], [2, 2], [1, 1])
"""Kernel, stride and padding."""


class ViewBatchNorm(nn.BatchNorm2d):
    """Batch-norm of V views that lie one after the other in the batch, (V · B, C, H, W): V batches to its statistics."""

    def forward(self, x: Tensor, n_views: int = 1) -> Tensor:
        if n_views == 1 or not self.training:
            return super().forward(x)
        return torch.cat([super(ViewBatchNorm, self).forward(view) for view in x.chunk(n_views)])

    def keeps_less(self, x: Tensor, n_views: int) -> bool:
        """Whether this is a pass that the functions below have a way of their own for."""
        return (
            self.training
            and n_views == 1
            and x.device.type == "cpu"
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
        )

    def normalised(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As training does, and the batch's mean and inverse deviation (C). Updates the running statistics."""
        mean = variance = None
        if self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            mean, variance = self.running_mean, self.running_var
        assert self.momentum is not None
        return torch.native_batch_norm(
            x, self.weight, self.bias, mean, variance, True, self.momentum, self.eps
        )


def rectified_convolution(x: Tensor, norm: ViewBatchNorm, convolution: nn.Conv2d, n_views: int) -> Tensor:
    """convolution(relu(norm(x)))."""
    if not norm.keeps_less(x, n_views):
        out: Tensor = convolution(relu(norm(x, n_views)))
        return out
    weights = (norm.weight, norm.bias, convolution.weight)
    out = _RectifiedConvolution.apply(x, *weights, norm, convolution)
    return out


def pooled(x: Tensor, norm: ViewBatchNorm, n_views: int) -> Tensor:
    """The maxima of relu(norm(x)) in windows of 3 × 3, two apart."""
    if not norm.keeps_less(x, n_views):
        return max_pool2d(relu(norm(x, n_views)), *POOL)
    out: Tensor = _PooledNorm.apply(x, norm.weight, norm.bias, norm)
    return out


class _RectifiedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        kernel: Tensor,
        norm: ViewBatchNorm,
        like: nn.Conv2d,
    ) -> Tensor:
        """weight, bias: the norm's. kernel: the convolution's, and `like` says how it goes over x."""
        normalised, mean, inverse = norm.normalised(x)
        ctx.save_for_backward(x, weight, bias, kernel, mean, inverse)
        ctx.norm, ctx.like = norm, like
        return conv2d(normalised.relu_(), kernel, None, like.stride, like.padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, kernel, mean, inverse = ctx.saved_tensors
        scale = weight * inverse
        rectified = torch.addcmul(_by_channel(bias - mean * scale), x, _by_channel(scale)).relu_()
        like = ctx.like
        of_rectified, of_kernel, _ = torch.ops.aten.convolution_backward(
            gradients[0], rectified, kernel, None, like.stride, like.padding, [1, 1], False, [0, 0], 1,
            [True, True, False],
        )  # fmt: skip
        of_normalised = torch.ops.aten.threshold_backward(of_rectified, rectified, 0)
        return *_through_norm(of_normalised, x, weight, mean, inverse, ctx.norm), of_kernel, None, None


class _PooledNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: ViewBatchNorm) -> Tensor:
        normalised, mean, inverse = norm.normalised(x)
        out, places = torch.ops.aten.max_pool2d_with_indices(normalised, *POOL)
        out.relu_()
        ctx.save_for_backward(x, weight, mean, inverse, out, places.int())
        ctx.norm = norm
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, out, places = ctx.saved_tensors
        of_pooled = torch.ops.aten.threshold_backward(gradients[0], out, 0)
        of_normalised = torch.ops.aten.max_pool2d_with_indices_backward(
            of_pooled, x, *POOL, [1, 1], False, places.long()
        )  # of x its shape alone is read
        return *_through_norm(of_normalised, x, weight, mean, inverse, ctx.norm), None


def _through_norm(
    gradient: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, norm: ViewBatchNorm
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias from that of the normalised x."""
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        gradient, x, weight, None, None, mean, inverse, True, norm.eps, [True, True, True]
    )
    return found


def _by_channel(values: Tensor) -> Tensor:
    return values[:, None, None]
