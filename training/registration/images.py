"""Pictures as a network takes them: the shorter side resized to S pixels, then the middle of the longer one cut out.

Training's random crops are therefore of that square and not, as in the published code, of the whole picture; its test
images are the same. PNG, JPEG and WebP are read; transparency is dropped and grey becomes colour, as published.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.registration.blobs import Blob
from training.registration.found import Ledger, Stream

Picture = Path | Blob | bytes | NDArray[np.uint8]
"""A file of one, or its pixels (H, W), (H, W, 3) or (H, W, 4)."""
FORMATS = ("PNG", "JPEG", "WEBP")
MOST_PIXELS, MOST_BYTES = 50_000_000, 200_000_000
CHUNK, MOST_THREADS = 64, 8
BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, AssertionError,
    MemoryError, struct.error, zlib.error,
)  # fmt: skip
"""What the decoders raise about files that are not what their header says."""

# Our own limit is checked right after the header is read; this one would only warn, and later than that.
Image.MAX_IMAGE_PIXELS = None


class UnusableImageError(Exception):
    """Says why, as the end of a sentence about the sample."""


def stream(
    pictures: Iterable[Picture | None],
    ids: Sequence[str],
    size: int,
    ledger: Ledger,
    *,
    upright: bool = False,
) -> Stream:
    """uint8 (N, 3, S, S). Those that cannot be read are dropped, and None is black: a picture nobody asks for.

    `upright`: turned as a camera has noted in the file.
    """
    sources: list[bytes] = []
    chunks = _chunks(pictures, ids, size, ledger, upright, sources)
    return Stream((len(ids), 3, size, size), np.dtype(np.uint8), chunks, sources)


def _chunks(
    pictures: Iterable[Picture | None],
    ids: Sequence[str],
    size: int,
    ledger: Ledger,
    upright: bool,
    sources: list[bytes],
) -> Iterator[NDArray[np.uint8]]:
    black = np.zeros((3, size, size), np.uint8)

    def read(picture: Picture | None) -> tuple[NDArray[np.uint8] | str, bytes]:
        try:
            content = _content(picture)
            pixels = black if content is None else square(content, size, upright=upright)
        except UnusableImageError as error:
            return str(error), b""
        return pixels, b"" if content is None else _digest(content)

    waiting, row = iter(pictures), 0
    # Threads are enough: Pillow lets go of the interpreter's lock while it decodes and resizes.
    with ThreadPoolExecutor(min(len(os.sched_getaffinity(0)), MOST_THREADS)) as pool:
        while found := list(pool.map(read, islice(waiting, CHUNK))):
            for place, (each, source) in enumerate(found, start=row):
                sources.append(source)
                if isinstance(each, str):
                    ledger.drop(place, ids[place], each)
            row += len(found)
            ledger.progress("reading images", row, len(ids))
            yield np.stack([black if isinstance(each, str) else each for each, _ in found])


def _content(picture: Picture | None) -> bytes | NDArray[np.uint8] | None:
    """Raises UnusableImageError."""
    if not isinstance(picture, Path | Blob):
        return picture
    try:
        blob = Blob.of(picture) if isinstance(picture, Path) else picture
        if blob.size > MOST_BYTES:
            raise UnusableImageError(f"its image has more than {MOST_BYTES:,} bytes")
        return blob.read()
    except FileNotFoundError:
        raise UnusableImageError("its image is missing") from None
    except OSError:
        raise UnusableImageError("its image cannot be read") from None


def _digest(content: bytes | NDArray[np.uint8]) -> bytes:
    content = content if isinstance(content, bytes) else content.tobytes()
    return hashlib.blake2b(content, digest_size=16).digest()


def square(picture: bytes | NDArray[np.uint8], size: int, *, upright: bool = False) -> NDArray[np.uint8]:
    """(3, S, S), from a file's content or from pixels. Raises UnusableImageError."""
    try:
        with _opened(picture) as image:
            longer, shorter = max(image.size), min(image.size)
            if longer * shorter > MOST_PIXELS:
                raise UnusableImageError(f"its image has more than {MOST_PIXELS:,} pixels")
            if longer * size // shorter * size > MOST_PIXELS:
                raise UnusableImageError("its image is too long for its width")
            return middle(_in_colour(_turned(image) if upright else image), size)
    except BROKEN:
        raise UnusableImageError("its image is cut off, or is no PNG, JPEG or WebP") from None


def _opened(picture: bytes | NDArray[np.uint8]) -> Image.Image:
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)
    return Image.open(BytesIO(picture), formats=FORMATS)


def _turned(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except BROKEN:
        return image  # a camera's notes may be damaged where its picture is not


def _in_colour(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    opaque = image.convert("RGBA") if image.mode == "P" else image
    return opaque.convert("RGB")


def middle(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Bilinear with antialiasing, sizes rounded down and the cut-out's place rounded to even, as torchvision does."""
    shorter = min(image.size)
    width, height = (size * side // shorter for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    pixels = np.asarray(image.crop((left, top, left + size, top + size)))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def resized(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(H, W, 3) to (3, S, S)."""
    return middle(Image.fromarray(pixels), size)
