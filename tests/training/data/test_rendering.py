"""The fast renderer against pixel-by-pixel loops and number-by-number draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import rotate

from tests.training.data import slow_rendering
from training.data.rendering import (
    GRAIN,
    SHAPES,
    TEXTURE_SIZE,
    TEXTURES,
    draw_scenes,
    render,
    shape_template,
    texture_plane,
)

ONE_OF_EACH_KIND = [
    ("star", "solid", "ocean"),
    ("circle", "noise", "red"),
    ("plus", "rain", "purple"),
    ("pentagon", "zigzags", "orange"),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_has_exactly_the_pixels_of_the_slow_loop(shape):
    assert np.array_equal(
        shape_template(shape), slow_rendering.plane(slow_rendering.in_shape, shape, 128, 128)
    )


@pytest.mark.parametrize("texture", [each for each in TEXTURES if each not in GRAIN])
def test_a_texture_has_exactly_the_pixels_of_the_slow_loop(texture):
    fast = texture_plane(texture)
    slow = slow_rendering.plane(slow_rendering.in_texture, texture, *fast.shape)
    assert fast.shape == (458, 458)
    assert np.array_equal(fast, slow)


def test_a_name_that_is_no_shape_or_texture_is_refused():
    with pytest.raises(ValueError, match="no shape is called cube"):
        shape_template("cube")
    with pytest.raises(ValueError, match="no texture without random pixels is called noise"):
        texture_plane("noise")


def test_random_numbers_are_drawn_one_by_one_in_the_published_order():
    fast, slow = np.random.default_rng(42), np.random.default_rng(42)
    for scene in draw_scenes(fast, ONE_OF_EACH_KIND):
        assert scene.angle == slow.integers(-45, 45)
        turned = rotate(shape_template(scene.shape), scene.angle, order=1)
        assert scene.place == (
            slow.integers(0, 224 - turned.shape[0]),
            slow.integers(0, 224 - turned.shape[1]),
        )
        x, y = slow.integers(0, 10), slow.integers(0, 10)
        assert scene.texture_offset == (y, x)
        if scene.texture == "rain":
            slow.integers(0, 10)
        if scene.texture in GRAIN:
            share = GRAIN[scene.texture]
            drawn = np.array([slow.binomial(1, share) for _ in range(TEXTURE_SIZE**2)])
            assert np.array_equal(np.unpackbits(scene.grain), drawn)
        assert scene.texture_angle == slow.integers(-45, 45)
    assert fast.bit_generator.state == slow.bit_generator.state


@pytest.mark.parametrize("combination", ONE_OF_EACH_KIND)
def test_a_picture_equals_the_slow_loop_bit_by_bit(combination):
    (scene,) = draw_scenes(np.random.default_rng(7), [combination])
    y, x = scene.texture_offset
    if scene.texture in GRAIN:
        texture = np.unpackbits(scene.grain).reshape(TEXTURE_SIZE, TEXTURE_SIZE)
        texture = slow_rendering.rain(texture) if scene.texture == "rain" else texture
    else:
        texture = slow_rendering.plane(slow_rendering.in_texture, scene.texture, 458, 458)[
            y : y + 448, x : x + 448
        ]
    slow = slow_rendering.picture(
        scene,
        turned_shape=rotate(shape_template(scene.shape), scene.angle, order=1),
        turned_texture=rotate(texture.astype(float), scene.texture_angle, order=0, reshape=False),
    )
    assert np.array_equal(render(scene).transpose(1, 2, 0), slow)
