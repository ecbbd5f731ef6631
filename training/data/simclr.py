"""SimCLR's views (arXiv:2002.05709): crop and mirror, colour jitter, grey, blur, as CoMM and InfMasking train on.

What is random is drawn first and for the whole batch; what is then done to the images is the same for whoever draws it.
B samples, H pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.data.geometry import resample, uniform, windows

MIN_AREA, MIRROR = 0.08, 0.5
JITTER, JITTERED = (0.4, 0.4, 0.4, 0.1), 0.8
"""Brightness, contrast, saturation as factors 1 ± value; hue as a part of the colour circle."""
GREY = 0.2
BLUR, BLURRED = (0.1, 2.0), 0.5
"""Radii (standard deviations) in pixels of an image of 224."""
NOT_BLURRED = 1e-2
"""So narrow a kernel is exactly 1 in the middle and 0 elsewhere."""
LUMA = (0.299, 0.587, 0.114)
SEXTANTS = (5, 3, 1)
"""Where red, green and blue begin to fade on the colour circle, in sixths of it."""
CACHED_FLOATS = 1 << 18
"""Images at once on a CPU: what fits into a core's cache is changed there many times before it returns to memory."""


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

    def of(self, some: slice) -> Drawn:
        jitter = Jitter(self.jitter.factors[:, some], self.jitter.order)
        return Drawn(self.windows[some], jitter, self.grey[some], self.sigma[some])


def view(images: Tensor) -> Tensor:
    """(B, 3, H, H) in [0, 1]."""
    return applied(images, drawn(images))


def drawn(images: Tensor) -> Drawn:
    return Drawn(
        windows(images, MIN_AREA, MIRROR), draw_jitter(images), draw_grey(images), draw_sigma(images)
    )


def applied(images: Tensor, what: Drawn) -> Tensor:
    if images.device.type != "cpu":
        return _applied(images, what)
    some = max(1, CACHED_FLOATS // images[0].numel())
    parts = [slice(first, first + some) for first in range(0, len(images), some)]
    return torch.cat([_applied(images[part], what.of(part)) for part in parts])


def _applied(images: Tensor, what: Drawn) -> Tensor:
    cropped = resample(images, what.windows, padding="border")
    return blurred(greyed(jittered(cropped, what.jitter), what.grey), what.sigma)


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
        lambda x: torch.lerp(grey_of(x).mean((1, 2, 3), keepdim=True), x, 1 + contrast),
        lambda x: torch.lerp(grey_of(x), x, 1 + saturation),
        lambda x: turned(x, hue[:, 0]),
    )
    for i in jitter.order:
        images = changes[i](images)
        if i != 3:  # a turn of the colour circle stays in range
            images.clamp_(0, 1)
    return images


def turned(images: Tensor, hue: Tensor) -> Tensor:
    """By `hue` circles (B, 1, 1), with value and saturation as they are (HSV).

    A channel is the value, less the chroma as far as the hue is from where that channel is full: k sextants after a
    channel begins to fade, min(k, 4 − k, 1) of it are gone.
    """
    red, green, blue = images.unbind(1)
    value, least = images.amax(1), images.amin(1)
    chroma = value - least
    inverse = chroma.clamp_min(1e-8).reciprocal_()
    of_red, of_green = (green - blue) * inverse, (blue - red).mul_(inverse).add_(2)
    of_blue = (red - green).mul_(inverse).add_(4)
    sextant = torch.where(red == value, of_red, torch.where(green == value, of_green, of_blue)).add_(6 * hue)
    out = torch.empty_like(images)
    for channel, begins in enumerate(SEXTANTS):
        k = (sextant + begins).remainder_(6)
        faded = torch.minimum(k, 4 - k).clamp_(0, 1)
        torch.addcmul(value, chroma, faded, value=-1, out=out[:, channel])
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
    if images.device.type != "cpu":
        return _blurred(images, sigma)
    some = sigma > NOT_BLURRED  # to look is free on a CPU, and a device would be waited for
    if not some.any():
        return images
    out = images.clone()
    out[some] = _blurred(images[some], sigma[some])
    return out


def _blurred(images: Tensor, sigma: Tensor) -> Tensor:
    reach = math.ceil(3 * BLUR[1] * images.shape[-1] / 224)
    n, channels, height, width = images.shape
    place = torch.arange(-reach, reach + 1, device=images.device)
    kernels = torch.softmax(-0.5 * (place / sigma[:, None]) ** 2, dim=1).to(images.dtype)  # (B, 2·reach + 1)
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    rows = padded.view(1, n * channels, height + 2 * reach, width + 2 * reach)
    along = kernels.repeat_interleave(channels, 0)[:, None]
    rows = F.conv2d(rows, along[..., None], groups=n * channels)
    return F.conv2d(rows, along[:, :, None], groups=n * channels).view_as(images)


def grey_of(images: Tensor) -> Tensor:
    red, green, blue = images.split(1, dim=1)
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def _chosen(share: float, images: Tensor) -> Tensor:
    return torch.rand(len(images), device=images.device) < share
