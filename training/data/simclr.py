"""SimCLR's views (arXiv:2002.05709): crop and mirror, colour jitter, grey, blur, as CoMM and InfMasking train on.

What is random is drawn first (`simclr_drawn`). Here is what is then done to a batch, pass by pass, as an accelerator wants it;
`simclr_cpu` does the same to bytes on a processor.
B samples, H pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.data.geometry import resample_windows
from training.data.samples import Normalisation, measured, normalise
from training.data.simclr_drawn import (
    LUMA,
    Drawn,
    Jitter,
    draw_grey,
    draw_jitter,
    draw_sigma,
    drawn,
    gauss_kernels,
)


def view(images: Tensor, normalisation: Normalisation | None = None) -> Tensor:
    """(B, 3, H, H) of bytes, or of numbers in [0, 1]: float32, normalised if it is said how."""
    return applied(images, drawn(images), normalisation)


def applied(images: Tensor, what: Drawn, normalisation: Normalisation | None = None) -> Tensor:
    if images.device.type == "cpu" and images.dtype == torch.uint8:
        # Compiled when it is imported, for which only who makes such views should wait.
        from training.data import simclr_cpu

        return simclr_cpu.views(images, what, normalisation)
    cropped = resample_windows(measured(images), what.windows)
    return normalise(blurred(greyed(jittered(cropped, what.jitter), what.grey), what.sigma), normalisation)


def random_jitter(images: Tensor) -> Tensor:
    return jittered(images, draw_jitter(images))


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


def greyed(images: Tensor, grey: Tensor) -> Tensor:
    return torch.where(grey.view(-1, 1, 1, 1), grey_of(images), images)


def random_blur(images: Tensor) -> Tensor:
    return blurred(images, draw_sigma(images))


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


def grey_of(images: Tensor) -> Tensor:
    red, green, blue = images.split(1, dim=1)
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
