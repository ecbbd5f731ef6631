"""How long data takes: Trifeatures whole, one picture against pixel-by-pixel loops, and views of a batch."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import rotate

from tests.training.data import slow_rendering
from training.data import Augmenter, load
from training.data.rendering import draw_scenes, render, shape_template
from training.spec import Digits, Trifeatures

SCENE = ("pentagon", "zigzags", "orange")


def measure() -> dict[str, float]:
    """Seconds and milliseconds on this machine's CPUs, as the names say; `picture_speedup` is a ratio."""
    with tempfile.TemporaryDirectory() as folder:
        whole_set_s = seconds(lambda: load(Trifeatures(), Path(folder)))
        again_s = seconds(lambda: load(Trifeatures(), Path(folder)))
        views = {
            "augment_digits_8_ms": view_ms(Digits(), Path(folder), repeats=50),
            "augment_trifeatures_32_ms": view_ms(Trifeatures(image_size=32), Path(folder), repeats=10),
            "augment_trifeatures_224_ms": view_ms(Trifeatures(), Path(folder), repeats=2),
        }
    fast_s, slow_s = picture_s()
    return {
        "render_whole_set_s": whole_set_s,
        "load_cached_set_s": again_s,
        "render_picture_ms": fast_s * 1e3,
        "picture_speedup": slow_s / fast_s,
        **views,
    }


def picture_s() -> tuple[float, float]:
    """One picture by the renderer and by the slow loops. What both leave to scipy is in both times."""
    (scene,) = draw_scenes(np.random.default_rng(0), [SCENE])

    def slow() -> None:
        (y, x), (shape, texture, _) = scene.texture_offset, SCENE
        upright = slow_rendering.plane(slow_rendering.in_shape, shape, 128, 128).astype(float)
        plane = slow_rendering.plane(slow_rendering.in_texture, texture, 458, 458)[y : y + 448, x : x + 448]
        slow_rendering.picture(
            scene,
            turned_shape=rotate(upright, scene.angle, order=1),
            turned_texture=rotate(plane.astype(float), scene.texture_angle, order=0, reshape=False),
        )

    shape_template(SCENE[0])
    return min(seconds(lambda: render(scene)) for _ in range(10)), seconds(slow)


def view_ms(spec: Digits | Trifeatures, cache: Path, repeats: int) -> float:
    """One view of 64 pairs of images."""
    data = load(spec, cache)
    augment, batch = Augmenter(spec, data), data.train.batch(torch.arange(64))
    augment(batch)
    return min(seconds(lambda: augment(batch)) for _ in range(repeats)) * 1e3


def seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start
