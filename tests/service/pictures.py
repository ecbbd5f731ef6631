"""Image files for tests, and files that are none."""

from __future__ import annotations

import base64
import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models_store.manifest import ImageInput
from service.inference.images import fitted, normalised


def noise(width: int = 8, height: int = 8, seed: int = 0, mode: str = "L") -> Image.Image:
    shape = (height, width) if mode == "L" else (height, width, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    content = BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def png(seed: int = 0, width: int = 8, height: int = 8) -> bytes:
    return file(noise(width, height, seed))


def pixels(image: Image.Image, wanted: ImageInput) -> NDArray[np.float32]:
    """(C, H, W) of a decoded image, as a network gets it."""
    return normalised(fitted(image, wanted), wanted)


def base64_png(seed: int = 0) -> str:
    return base64.b64encode(png(seed)).decode()


def truncated_png() -> bytes:
    whole = png(seed=1, width=64, height=64)
    return whole[: len(whole) // 2]


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says it has width × height pixels, and has."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    row = bytes(1 + -(-width // 8))
    squeeze = zlib.compressobj(9)
    rows = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


OTHERS: dict[str, bytes] = {
    "gif": file(noise(), "GIF"),
    "bmp": file(noise(), "BMP"),
    "tiff": file(noise(), "TIFF"),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n",
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>',
    "pdf": b"%PDF-1.7\n%%EOF",
}
"""Formats that are not read."""
