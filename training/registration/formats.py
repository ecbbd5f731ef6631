"""The formats by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from training.registration.affect import MOSI, MUSTARD, UR_FUNNY, read_affect
from training.registration.array_files import read_arrays
from training.registration.found import Found, Source
from training.registration.hateful_memes import read_hateful_memes
from training.registration.image_folder import read_image_folder
from training.registration.mimic import read_mimic
from training.registration.mmimdb import read_mmimdb
from training.registration.parquet import read_parquet
from training.registration.vision_touch import read_vision_touch
from training.registration.webdataset import read_webdataset
from training.spec.registration import Format


class Reader(NamedTuple):
    read: Callable[[Source], Found]
    image_size: int | None = None
    """Pixels along an image's side unless somebody asks for others; none for data without images."""


FORMATS: Mapping[Format, Reader] = {
    "mosi": Reader(partial(read_affect, published=MOSI)),
    "ur_funny": Reader(partial(read_affect, published=UR_FUNNY)),
    "mustard": Reader(partial(read_affect, published=MUSTARD)),
    "mimic": Reader(read_mimic),
    "vision_touch": Reader(read_vision_touch, image_size=128),
    "mmimdb": Reader(read_mmimdb, image_size=224),
    "hateful_memes": Reader(read_hateful_memes, image_size=224),
    "image_folder": Reader(read_image_folder, image_size=224),
    "webdataset": Reader(read_webdataset, image_size=224),
    "parquet": Reader(read_parquet, image_size=224),
    "arrays": Reader(read_arrays, image_size=224),
}
