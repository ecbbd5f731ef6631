"""What is compiled for bytes on a processor makes the very views that torch makes of the numbers they stand for."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest
import torch

from training.data import simclr
from training.data.samples import IMAGENET
from training.data.simclr import applied
from training.data.simclr_drawn import NOT_BLURRED, Drawn, Jitter, drawn

PROCESS = """
import sys, torch
from training.data import simclr
assert "numba" not in sys.modules, "whoever makes no such views does not wait for what compiles them"
torch.manual_seed(0)
view = simclr.view(torch.randint(256, (4, 3, 16, 16), dtype=torch.uint8))
from training.data.simclr_cpu import _views
print(sum(_views.stats.cache_hits.values()), view.sum().item())
"""


def some_bytes(height: int, width: int, count: int = 8) -> torch.Tensor:
    """The first is grey, the second black, the third white."""
    images = torch.randint(256, (count, 3, height, width), dtype=torch.uint8)
    images[0] = images[0, :1]
    images[1], images[2] = 0, 255
    return images


def by_torch(images: torch.Tensor, what: Drawn) -> torch.Tensor:
    return applied(images.float() / 255, what)


def drawn_for(i: int, what: Drawn) -> Drawn:
    """For the image i alone."""
    one = slice(i, i + 1)
    jitter = Jitter(what.jitter.factors[:, one], what.jitter.order)
    return Drawn(what.windows[one], jitter, what.grey[one], what.sigma[one])


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_colours_change_in_any_order_as_by_torch(order: tuple[int, ...]) -> None:
    images = some_bytes(13, 13)
    what = drawn(images)
    factors = torch.empty(4, len(images)).uniform_(-0.5, 0.5)
    factors[:, 3] = 0
    what = Drawn(what.windows, Jitter(factors, order), what.grey, what.sigma)
    assert torch.allclose(applied(images, what), by_torch(images, what), atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (17, 5), (9, 31), (65, 64), (30, 240)])
def test_any_shape_is_cropped_blurred_and_normalised_as_by_torch(height: int, width: int) -> None:
    images = some_bytes(height, width)
    what = drawn(images)
    what.sigma[:] = torch.linspace(NOT_BLURRED, 2 * width / 224, len(images))
    place = 4e-7 * max(height, width)  # to so much of a pixel a float32 tells where in a row it is
    assert torch.allclose(applied(images, what), by_torch(images, what), atol=2e-6 + place)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in IMAGENET)
    expected = (by_torch(images, what) - mean) / std
    assert torch.allclose(applied(images, what, IMAGENET), expected, atol=(2e-6 + place) / std.min().item())


def test_images_that_lie_otherwise_in_memory_are_the_same_images() -> None:
    images = some_bytes(12, 12)
    what = drawn(images)
    otherwise = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not otherwise.is_contiguous()
    assert torch.equal(applied(otherwise, what), applied(images, what))


def test_no_images_have_no_views() -> None:
    assert simclr.view(some_bytes(8, 8)[:0], IMAGENET).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("channels", [1, 4])
def test_what_has_not_three_channels_is_refused(channels: int) -> None:
    images = some_bytes(8, 8)[:, :1].expand(-1, channels, -1, -1)
    with pytest.raises(ValueError, match=f"three channels, not of {channels}"):
        simclr.view(images)


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_a_view_is_the_same_whatever_is_computed_beside_it(threads: int) -> None:
    images = some_bytes(16, 16, count=10)
    what = drawn(images)
    alone = [applied(images[i : i + 1], drawn_for(i, what)) for i in range(len(images))]
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = applied(images, what)
    finally:
        torch.set_num_threads(usual)
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.slow
def test_two_processes_that_compile_at_once_leave_what_a_third_reads(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[str]:
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
        return subprocess.Popen(
            [sys.executable, "-c", PROCESS], env=environment, stdout=subprocess.PIPE, text=True
        )

    both = [start(), start()]
    said = [each.communicate()[0].split() for each in both] + [start().communicate()[0].split()]
    assert [int(hits) for hits, _ in said][2] == 1
    assert len({total for _, total in said}) == 1
