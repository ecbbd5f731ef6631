"""SimCLR's views of bytes on a processor: what `simclr` says, compiled, image by image and row by row.

A row stays in the first cache while all is done to it that needs no other row. There are two walks over an image, since
contrast asks how grey the whole has become, and a third where it is blurred. Importing this compiles it, which takes
seconds, or reads what an earlier process has compiled.

B images, H rows, W columns, R pixels that a blur reaches to either side. All is float32: a constant of Python's would make
float64 of what it meets.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.compiled import compiled, kept
from training.data.samples import Normalisation
from training.data.simclr_drawn import LUMA, Drawn, gauss_kernels

Floats = NDArray[np.float32]
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
NEGLIGIBLE = 1e-7
"""Of a kernel, what does not change a float32."""
UNCHANGED: Normalisation = ((0, 0, 0), (1, 1, 1))
ZERO, HALF, ONE, TWO, SIX, BYTE = (np.float32(number) for number in (0, 1 / 2, 1, 2, 6, 255))
SIXTH, THIRD, LEAST_CHROMA = np.float32(1 / 6), np.float32(1 / 3), np.float32(1e-7)

SIGNATURE = (
    "void(uint8[:, :, :, ::1], float32[:, :, ::1], float32[:, ::1], boolean[::1], boolean[::1], float32[:, ::1], int64[::1],"
    " int64[::1], float32[::1], float32[:, ::1], float32[:, :, :, ::1])"
)


def views(images: Tensor, what: Drawn, normalisation: Normalisation | None) -> Tensor:
    """(B, 3, H, W) of bytes to float32. By as many threads as torch may use, each with images of its own, so that their
    number changes no number. Raises ValueError for other than three channels: what is compiled does not look."""
    if images.shape[1] != 3:
        raise ValueError(f"views are made of three channels, not of {images.shape[1]}")
    kernels = gauss_kernels(images, what.sigma)
    mean, std = np.array(normalisation or UNCHANGED, np.float32)
    of_each = [
        each.contiguous().numpy()
        for each in (
            images,
            what.windows,
            what.jitter.factors.T,
            what.jitter.factors.any(0),
            what.grey,
            kernels[:, kernels.shape[1] // 2 :],
            (kernels > NEGLIGIBLE).sum(1) // 2,
        )
    ]
    of_all = np.array(what.jitter.order), np.array(LUMA, np.float32), np.stack([1 / std, mean / std])
    out = torch.empty(images.shape)

    def make(first: int) -> None:
        part = slice(first, first + share)
        _views(*(each[part] for each in of_each), *of_all, out[part].numpy())

    threads = torch.get_num_threads()
    share = max(1, -(-len(images) // threads))
    if threads == 1:
        make(0)
        return out
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(make, range(0, len(images), share)))
    return out


@compiled
def _placed(by: np.float32, shift: np.float32, first: NDArray[np.int32], of_next: Floats) -> None:
    """Between which pixel and its next each of a side's lies, and how near the next; an edge goes on as its last pixel."""
    size = len(first)
    for i in range(size):
        at = np.float32(2 * i + 1 - size) / np.float32(size) * by + shift  # in [-1, 1]
        at = min(max((at + ONE) * (np.float32(size) * HALF) - HALF, ZERO), np.float32(size - 1))
        first[i] = np.int32(at)
        of_next[i] = at - np.float32(first[i])


@compiled
def _resampled(
    image: NDArray[np.uint8],
    y: int,
    below: np.float32,
    left: NDArray[np.int32],
    right: Floats,
    mixed: Floats,
    row: Floats,
) -> None:
    """row: (3, W) of the view. mixed: (W + 1,), where two rows of the image become one."""
    width = row.shape[1]
    of_next, of_this = below / BYTE, (ONE - below) / BYTE
    for channel in range(3):
        this, after, out = image[channel, y], image[channel, min(y + 1, image.shape[1] - 1)], row[channel]
        for x in range(width):
            mixed[x] = np.float32(this[x]) * of_this + np.float32(after[x]) * of_next
        mixed[width] = mixed[width - 1]
        for x in range(width):
            at = np.uint32(left[x])
            out[x] = mixed[at] + (mixed[at + np.uint32(1)] - mixed[at]) * right[x]


@compiled
def _grey_of(red: np.float32, green: np.float32, blue: np.float32, luma: Floats) -> np.float32:
    return luma[0] * red + luma[1] * green + luma[2] * blue


@compiled
def _clamped(number: np.float32) -> np.float32:
    return min(max(number, ZERO), ONE)


@compiled
def _scaled(of: Floats, by: np.float32, less: np.float32, out: Floats) -> None:
    for x in range(len(out)):
        out[x] = of[x] * by - less


@compiled
def _stretched(row: Floats, by: np.float32, less: np.float32) -> None:
    for channel in range(3):
        out = row[channel]
        for x in range(len(out)):
            out[x] = _clamped(out[x] * by - less)


@compiled
def _saturated(row: Floats, factor: np.float32, luma: Floats) -> None:
    reds, greens, blues = row[0], row[1], row[2]
    by = ONE + factor
    for x in range(len(reds)):
        less = _grey_of(reds[x], greens[x], blues[x], luma) * factor
        reds[x] = _clamped(reds[x] * by - less)
        greens[x] = _clamped(greens[x] * by - less)
        blues[x] = _clamped(blues[x] * by - less)


@compiled
def _turned(row: Floats, hue: np.float32) -> None:
    """`simclr.turned`, which says why."""
    reds, greens, blues = row[0], row[1], row[2]
    for x in range(len(reds)):
        red, green, blue = reds[x], greens[x], blues[x]
        value, least = max(max(green, blue), red), min(min(green, blue), red)
        chroma = (value - least) * SIX
        from_red = green + blue - red + value - TWO * least
        circle = (from_red if green >= blue else -from_red) / max(chroma, LEAST_CHROMA) + hue
        circle -= np.rint(circle)
        faded = value - chroma * THIRD
        reds[x] = _clamped(value + chroma * (SIXTH - min(max(abs(circle), SIXTH), THIRD)))
        greens[x] = _clamped(faded + chroma * min(max(abs(circle + SIXTH), SIXTH), THIRD))
        blues[x] = _clamped(faded + chroma * min(max(abs(circle - SIXTH), SIXTH), THIRD))


@compiled
def _changed(row: Floats, changes: NDArray[np.int64], factors: Floats, luma: Floats) -> None:
    """By what needs this row alone."""
    for change in changes:
        if change == BRIGHTNESS:
            _stretched(row, ONE + factors[BRIGHTNESS], ZERO)
        elif change == SATURATION:
            _saturated(row, factors[SATURATION], luma)
        elif change == HUE:
            _turned(row, factors[HUE])


@compiled
def _greyed(row: Floats, luma: Floats) -> None:
    reds, greens, blues = row[0], row[1], row[2]
    for x in range(len(reds)):
        reds[x] = greens[x] = blues[x] = _grey_of(reds[x], greens[x], blues[x], luma)


@compiled
def _grey_added(row: Floats, luma: Floats, sums: Floats) -> None:
    """To the sums (W,) of an image's columns, which side by side need no order."""
    reds, greens, blues = row[0], row[1], row[2]
    for x in range(len(sums)):
        sums[x] += _grey_of(reds[x], greens[x], blues[x], luma)


@compiled
def _pair_added(one: Floats, other: Floats, weight: np.float32, out: Floats) -> None:
    for x in range(len(out)):
        out[x] += (one[x] + other[x]) * weight


@compiled
def _blurred_along(row: Floats, kernel: Floats, reach: int, padded: Floats) -> None:
    """A row in its place. padded: (W + 2 · reach at least,)."""
    width = row.shape[1]
    for channel in range(3):
        out = row[channel]
        for x in range(width):
            padded[reach + x] = out[x]
        for x in range(reach):
            padded[x] = out[0]
            padded[reach + width + x] = out[width - 1]
        _scaled(out, kernel[0], ZERO, out)
        for k in range(1, reach + 1):
            _pair_added(padded[reach - k :], padded[reach + k :], kernel[k], out)


@compiled
def _blurred_across(rows: Floats, kernel: Floats, reach: int, normal: Floats, out: Floats) -> None:
    """All rows (H, 3, W), normalised, into (3, H, W): channel by channel, so that those of a kernel stay in the first cache."""
    last = len(rows) - 1
    for channel in range(3):
        by, less = normal[0, channel], normal[1, channel]
        for y in range(last + 1):
            _scaled(rows[y, channel], kernel[0] * by, less, out[channel, y])
            for k in range(1, reach + 1):
                above, below = rows[max(y - k, 0), channel], rows[min(y + k, last), channel]
                _pair_added(above, below, kernel[k] * by, out[channel, y])


@kept(SIGNATURE)
def _views(
    images: NDArray[np.uint8],
    windows: Floats,
    factors: Floats,
    jittered: NDArray[np.bool_],
    grey: NDArray[np.bool_],
    kernels: Floats,
    reaches: NDArray[np.int64],
    order: NDArray[np.int64],
    luma: Floats,
    normal: Floats,
    out: Floats,
) -> None:
    """factors (B, 4), kernels (B, R + 1) from their middle on, reaches (B,) as far as they matter; normal (2, 3): what each
    channel is multiplied by, and what is then taken off."""
    _, _, height, width = images.shape
    left, right = np.empty(width, np.int32), np.empty(width, np.float32)
    top, below = np.empty(height, np.int32), np.empty(height, np.float32)
    rows, sums = np.empty((height, 3, width), np.float32), np.empty(width, np.float32)
    mixed, padded = np.empty(width + 1, np.float32), np.empty(width + 2 * kernels.shape[1], np.float32)
    at = 0
    while order[at] != CONTRAST:
        at += 1
    for i in range(len(images)):
        _placed(windows[i, 0, 0], windows[i, 0, 2], left, right)
        _placed(windows[i, 1, 1], windows[i, 1, 2], top, below)
        sums[:] = ZERO
        for y in range(height):
            _resampled(images[i], top[y], below[y], left, right, mixed, rows[y])
            if jittered[i]:
                _changed(rows[y], order[:at], factors[i], luma)
                _grey_added(rows[y], luma, sums)
        mean = np.float32(sums.sum() / (height * width))
        for y in range(height):
            if jittered[i]:
                _stretched(rows[y], ONE + factors[i, CONTRAST], mean * factors[i, CONTRAST])
                _changed(rows[y], order[at + 1 :], factors[i], luma)
            if grey[i]:
                _greyed(rows[y], luma)
            if reaches[i]:
                _blurred_along(rows[y], kernels[i], reaches[i], padded)
        # Without a blur this only normalises, and puts channels apart.
        _blurred_across(rows, kernels[i], reaches[i], normal, out[i])
