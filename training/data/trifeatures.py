"""Trifeatures: 1,000 combinations of a shape, a texture and a colour, rendered here (see `rendering`).

800 combinations are for training, with three pictures each, and 200 for the test, with one. As pairs: two pictures of
the same shape (share), their textures (uniqueness), and whether picture 2 has the colour that belongs to the texture
of picture 1 (synergy), which a tenth of unbiased pairs have. Pictures are ordered as the published code orders its
files, by name, because the pairs depend on the order.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from training.data.array_cache import cached_arrays
from training.data.forms import Family, Items
from training.data.pairs import SEED, Attributes, Ints, random_partners
from training.data.rendering import COLORS, SHAPES, SIZE, TEXTURES, Scene, draw_scenes, render
from training.data.samples import IMAGENET
from training.spec import Trifeatures

log = logging.getLogger(__name__)

RENDERER = 1
"""To be counted up when the pictures change, so that older caches are not taken for them."""
N_TEST_COMBINATIONS = 200
TRAIN_COPIES = 3
SENTENCES = (
    "{article} {color} {shape}",
    "a picture of {article} {color} {shape}",
    "the {shape} is {color}",
    "a {shape} in {color}",
    "{article} {color} {shape} on a grey background",
    "this {color} thing is a {shape}",
)


@dataclass(frozen=True)
class Picture:
    shape: str
    texture: str
    color: str
    copy: int | None
    """Which of a training combination's pictures; test combinations have one."""

    @property
    def file_name(self) -> str:
        parts = [self.shape, self.texture, self.color]
        return "_".join(parts if self.copy is None else [*parts, str(self.copy)]) + ".png"


def trifeatures(spec: Trifeatures, cache: Path) -> Family:
    pictures = cached_pictures(cache, spec.image_size)
    train, test = split_pictures(in_drawing_order(np.random.default_rng(SEED)))
    return Family(
        train=_items(train, pictures["train"]),
        test=_items(test, pictures["test"]),
        partners=random_partners(),
        captions=tuple(_captions(shape, color) for shape, color in product(SHAPES, COLORS)),
        normalisation=IMAGENET,
        probe_train_pairs=10_000,
        probe_test_pairs=10_000,
        balanced=("probe_train",) if spec.balanced_probes else (),
    )


def in_drawing_order(rng: np.random.Generator) -> list[Picture]:
    """All pictures as the published code goes through them. Takes the numbers from `rng` that choose the test's."""
    in_test = np.array([1] * N_TEST_COMBINATIONS + [0] * (1000 - N_TEST_COMBINATIONS))
    rng.shuffle(in_test)
    return [
        Picture(shape, texture, color, copy)
        for is_test, (shape, texture, color) in zip(in_test, product(SHAPES, TEXTURES, COLORS), strict=True)
        for copy in ((None,) if is_test else range(TRAIN_COPIES))
    ]


def split_pictures(pictures: list[Picture]) -> tuple[list[Picture], list[Picture]]:
    """Training's and test's, each ordered by file name."""
    ordered = sorted(pictures, key=lambda picture: picture.file_name)
    return [each for each in ordered if each.copy is not None], [
        each for each in ordered if each.copy is None
    ]


def cached_pictures(cache: Path, size: int = SIZE) -> dict[str, NDArray[np.uint8]]:
    """`train` and `test`, uint8 (N, 3, size, size), ordered by file name."""
    build = render_all if size == SIZE else partial(_shrink_all, cache=cache, size=size)
    return cached_arrays(cache / "trifeatures" / f"r{RENDERER}-{size}", build)


def render_all(folder: Path) -> None:
    """Every picture at 224 pixels, on all CPUs this process may use, into train.npy and test.npy."""
    rng = np.random.default_rng(SEED)
    pictures = in_drawing_order(rng)
    scenes = list(draw_scenes(rng, [(each.shape, each.texture, each.color) for each in pictures]))
    scene_of = dict(zip(pictures, scenes, strict=True))
    for name, chosen in zip(("train", "test"), split_pictures(pictures), strict=True):
        log.info("rendering %d Trifeatures pictures for %s", len(chosen), name)
        _render_into(folder / f"{name}.npy", [scene_of[each] for each in chosen])


def _render_into(path: Path, scenes: list[Scene]) -> None:
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (len(scenes), 3, SIZE, SIZE))
    # Threads are enough: numpy and scipy let go of the interpreter's lock while they compute.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for done, picture in enumerate(pool.map(render, scenes)):
            array[done] = picture
            if (done + 1) % 400 == 0:
                log.info("rendered %d of %d", done + 1, len(scenes))
    array.flush()


def _shrink_all(folder: Path, cache: Path, size: int) -> None:
    for name, pictures in cached_pictures(cache).items():
        shrunk = [
            F.interpolate(torch.from_numpy(chunk).float(), size=(size, size), mode="area")
            for chunk in np.array_split(pictures, max(1, len(pictures) // 100))
        ]
        np.save(folder / f"{name}.npy", torch.cat(shrunk).round().to(torch.uint8).numpy())


def _items(pictures: list[Picture], pixels: NDArray[np.uint8]) -> Items:
    shape, texture, color = attribute_classes(pictures)
    return Items(
        images=torch.from_numpy(pixels),
        attributes=Attributes(share=shape, unique=texture, cue=texture, answer=color),
        labels={"shape": shape, "color": color, "texture": texture},
        named=shape * len(COLORS) + color,
    )


def attribute_classes(pictures: list[Picture]) -> tuple[Ints, Ints, Ints]:
    """Shape, texture and colour (N,) each, as places in SHAPES, TEXTURES and COLORS."""
    colors = tuple(COLORS)
    return (
        np.array([SHAPES.index(each.shape) for each in pictures]),
        np.array([TEXTURES.index(each.texture) for each in pictures]),
        np.array([colors.index(each.color) for each in pictures]),
    )


def _captions(shape: str, color: str) -> tuple[str, ...]:
    article = "an" if color[0] in "aeiou" else "a"
    return tuple(sentence.format(article=article, shape=shape, color=color) for sentence in SENTENCES)
