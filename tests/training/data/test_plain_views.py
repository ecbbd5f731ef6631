"""Batched views are the pictures that Pillow makes one by one from the same numbers, compiled for a processor or not."""

from __future__ import annotations

from colorsys import hsv_to_rgb, rgb_to_hsv

import numpy as np
import pytest
import torch
from PIL import Image

from tests.plain_views import plain_views
from training.data import simclr
from training.data.geometry import resample, resample_windows, windows
from training.data.rendering import draw_scenes, render
from training.data.simclr_drawn import drawn

SCENES = [("pentagon", "zigzags", "orange"), ("star", "dots", "blue"), ("circle", "grid", "green")]


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    """uint8 (24, 3, 64, 64)."""
    scenes = draw_scenes(np.random.default_rng(0), SCENES * 8)
    return torch.stack([
        torch.from_numpy(np.asarray(Image.fromarray(render(scene).transpose(1, 2, 0)).resize((64, 64))).copy())
        for scene in scenes
    ]).permute(0, 3, 1, 2)  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_the_same_numbers_make_the_same_pictures_one_by_one(pictures: torch.Tensor, seed: int) -> None:
    torch.manual_seed(seed)
    what = drawn(pictures)
    sources = [Image.fromarray(each.permute(1, 2, 0).numpy()) for each in pictures]
    plain = np.stack([np.asarray(each) for each in plain_views(sources, what)]).transpose(0, 3, 1, 2) / 255
    for images in (pictures, pictures.float() / 255):
        ours = simclr.applied(images, what)
        difference = np.abs(ours.numpy() - plain)
        assert difference.mean() < 0.01
        assert np.quantile(difference, 0.99) < 0.06
        other = np.abs(ours.roll(1, 0).numpy() - plain)
        assert other.mean() > 10 * difference.mean(), "views of other samples are other pictures"


def test_a_window_is_shown_as_any_map_would_show_it(pictures: torch.Tensor) -> None:
    images = pictures.float() / 255
    maps = windows(images, 0.08, 0.5)
    assert torch.allclose(resample_windows(images, maps), resample(images, maps, "border"), atol=1e-4)


def test_a_turn_of_the_colour_circle_is_one_of_the_hue(pictures: torch.Tensor) -> None:
    colours = pictures[:, :, ::16, ::16].permute(0, 2, 3, 1).reshape(-1, 3).float() / 255
    for hue in (-0.4, -0.1, 0.03, 0.5):
        slow = [hsv_to_rgb((h + hue) % 1, s, v) for h, s, v in (rgb_to_hsv(*rgb) for rgb in colours.tolist())]
        turned = simclr.turned(colours[..., None, None], torch.full((len(colours), 1, 1), hue))
        assert torch.allclose(turned[..., 0, 0], torch.tensor(slow), atol=1e-5)


def test_a_turn_of_the_colour_circle_keeps_value_and_chroma(pictures: torch.Tensor) -> None:
    images = pictures.float() / 255
    turned = simclr.turned(images, torch.linspace(-0.5, 0.5, len(images)).view(-1, 1, 1))
    assert torch.allclose(turned.amax(1), images.amax(1), atol=1e-6)
    assert torch.allclose(turned.amin(1), images.amin(1), atol=1e-6)
    whole = simclr.turned(images, torch.ones(len(images), 1, 1))
    assert torch.allclose(whole, images, atol=1e-5)


def test_a_third_of_the_circle_makes_red_green_and_green_blue() -> None:
    red = torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1)
    green, blue = (simclr.turned(red, torch.full((1, 1, 1), k / 3)).flatten() for k in (1, 2))
    assert torch.allclose(green, torch.tensor([0.1, 0.9, 0.1]), atol=1e-6)
    assert torch.allclose(blue, torch.tensor([0.1, 0.1, 0.9]), atol=1e-6)


def test_greys_have_no_hue_to_turn() -> None:
    greys = torch.linspace(0, 1, 5).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    assert torch.equal(simclr.turned(greys, torch.full((5, 1, 1), 0.3)), greys)
