"""SimCLR's views (arXiv:2002.05709): crop and mirror, colour jitter, grey, blur, as CoMM and InfMasking train on.

What is random is drawn first and for the whole batch; what is then done to the images is the same for whoever draws it.
Here it is a batch's, pass by pass, as an accelerator wants it; `simclr_cpu` is the same for bytes on a processor.
B samples, H pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.data.geometry import resample_windows, uniform, windows
from training.data.samples import Normalisation, measured, normalise

MIN_AREA, MIRROR = 0.08, 0.5
JITTER, JITTERED = (0.4, 0.4, 0.4, 0.1), 0.8
"""Brightness, contrast, saturation as factors 1 ± value; hue as a part of the colour circle."""
GREY = 0.2
BLUR, BLURRED = (0.1, 2.0), 0.5
"""Radii (standard deviations) in pixels of an image of 224."""
NOT_BLURRED = 1e-2
"""So narrow a kernel is exactly 1 in the middle and 0 elsewhere."""
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Jitter:
    factors: Tensor
    """Brightness, contrast, saturation minus 1, and hue in circles: (4, B)."""
    order: tuple[int, ...]
    """In which the four are changed, for all samples."""


@dataclass(frozen=True)
class Drawn:
    """All that is random in the views of a batch."""

    windows: Tensor
    """(B, 2, 3), from output to input coordinates."""
    jitter: Jitter
    grey: Tensor
    """Booleans (B,)."""
    sigma: Tensor
    """Of the blur, in pixels (B,); next to nothing where there is none."""


def view(images: Tensor, normalisation: Normalisation | None = None) -> Tensor:
    """(B, 3, H, H) of bytes, or of numbers in [0, 1]: float32, normalised if it is said how."""
    return applied(images, drawn(images), normalisation)


def drawn(images: Tensor) -> Drawn:
    return Drawn(
        windows(images, MIN_AREA, MIRROR), draw_jitter(images), draw_grey(images), draw_sigma(images)
    )


def applied(images: Tensor, what: Drawn, normalisation: Normalisation | None = None) -> Tensor:
    if images.device.type == "cpu" and images.dtype == torch.uint8:
        # Compiled when it is imported, for which only who makes such views should wait.
        from training.data import simclr_cpu

        return simclr_cpu.views(images, what, normalisation)
    cropped = resample_windows(measured(images), what.windows)
    return normalise(blurred(greyed(jittered(cropped, what.jitter), what.grey), what.sigma), normalisation)


def random_jitter(images: Tensor) -> Tensor:
    return jittered(images, draw_jitter(images))


def draw_jitter(images: Tensor) -> Jitter:
    """Strengths are drawn per sample, the order of the four changes per batch."""
    n = len(images)
    chosen = _chosen(JITTERED, images)
    factors = torch.stack([uniform(-limit, limit, n, images) * chosen for limit in JITTER])
    # Drawn on the CPU: the order decides what is launched, and the device must not be waited for.
    return Jitter(factors, tuple(torch.randperm(len(JITTER)).tolist()))


def jittered(images: Tensor, jitter: Jitter) -> Tensor:
    brightness, contrast, saturation, hue = jitter.factors.view(4, -1, 1, 1, 1)
    changes = (
        lambda x: x * (1 + brightness),
        lambda x: _away(x, grey_of(x.mean((2, 3), keepdim=True)), contrast),
        lambda x: _away(x, grey_of(x), saturation),
        lambda x: turned(x, hue[:, 0]),
    )
    for i in jitter.order:
        images = changes[i](images).clamp_(0, 1)
    return images


def _away(images: Tensor, grey: Tensor, by: Tensor) -> Tensor:
    """From the grey by this share of the distance (B, 1, 1, 1); nearer where it is negative."""
    return (images * (1 + by)).sub_(grey * by)


def turned(images: Tensor, hue: Tensor) -> Tensor:
    """By `hue` circles (B, 1, 1), with value and saturation as they are (HSV).

    A channel is the value, less the chroma as far as the hue is from where that channel is full: nothing within a sixth of
    the circle, all of it from two sixths on. How far a colour is from red follows from its three numbers without a look at
    which is the greatest: in sixths and times the chroma, g + b − r + value − 2 · least.
    """
    red, green, blue = images.unbind(1)
    both = green + blue
    value, least = (
        torch.maximum(torch.maximum(green, blue), red),
        torch.minimum(torch.minimum(green, blue), red),
    )
    chroma = (value - least).mul_(6)
    from_red = both.sub_(red).add_(value).sub_(least, alpha=2)
    circle = from_red.copysign_(green - blue).div_(chroma.clamp_min(1e-7)).add_(hue)
    circle -= circle.round()  # red is at 0, green at a third, blue at minus a third
    out = torch.empty_like(images)
    torch.addcmul(
        value.add(chroma, alpha=1 / 6), chroma, circle.abs().clamp_(1 / 6, 2 / 6), value=-1, out=out[:, 0]
    )
    faded = value.sub_(chroma, alpha=2 / 6)
    for channel, opposite in ((1, -1 / 6), (2, 1 / 6)):
        torch.addcmul(faded, chroma, (circle - opposite).abs_().clamp_(1 / 6, 2 / 6), out=out[:, channel])
    return out


def random_grey(images: Tensor) -> Tensor:
    return greyed(images, draw_grey(images))


def draw_grey(images: Tensor) -> Tensor:
    return _chosen(GREY, images)


def greyed(images: Tensor, grey: Tensor) -> Tensor:
    return torch.where(grey.view(-1, 1, 1, 1), grey_of(images), images)


def random_blur(images: Tensor) -> Tensor:
    return blurred(images, draw_sigma(images))


def draw_sigma(images: Tensor) -> Tensor:
    scale = images.shape[-1] / 224
    sigma = uniform(BLUR[0] * scale, BLUR[1] * scale, len(images), images)
    return torch.where(_chosen(BLURRED, images), sigma, NOT_BLURRED)


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Along each side by its own Gauss kernel, as wide as three of the greatest radii; an edge goes on as its last pixel."""
    n, channels, height, width = images.shape
    kernels = gauss_kernels(images, sigma)
    reach = kernels.shape[1] // 2
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    rows = padded.reshape(1, n * channels, height + 2 * reach, width + 2 * reach)
    along = kernels.repeat_interleave(channels, 0)[:, None]
    rows = F.conv2d(rows, along[..., None], groups=n * channels)
    return F.conv2d(rows, along[:, :, None], groups=n * channels).view_as(images)


def gauss_kernels(images: Tensor, sigma: Tensor) -> Tensor:
    """(B, 2 · reach + 1), float32."""
    reach = math.ceil(3 * BLUR[1] * images.shape[-1] / 224)
    place = torch.arange(-reach, reach + 1, device=images.device)
    return torch.softmax(-0.5 * (place / sigma[:, None]) ** 2, dim=1)


def grey_of(images: Tensor) -> Tensor:
    red, green, blue = images.split(1, dim=1)
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def _chosen(share: float, images: Tensor) -> Tensor:
    return torch.rand(len(images), device=images.device) < share
