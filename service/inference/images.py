"""Images: from the bytes that somebody sent to the pixels that a network takes.

PNG, JPEG and WebP are read, told apart by their first bytes and by nothing else. Size limits are checked on the header,
before any pixel is decoded. Of an animation the first frame counts; the EXIF orientation is applied; colour profiles
and all other metadata are not looked at.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from models_store.manifest import ImageInput
from service.errors import InvalidError, TooLargeError, UnsupportedMediaError
from service.settings import Settings

Values = NDArray[np.uint8] | NDArray[np.float32]
"""Of pixels: bytes, but where the image has 16 bits and is stretched."""

FORMATS = ("PNG", "JPEG", "WEBP")
RESAMPLING = Image.Resampling.BICUBIC
"""Of what is stretched. Antialiased: where an image shrinks, the kernel is widened to cover every pixel of it."""
MAX_RESIZED_PIXELS = 50_000_000
"""Of an image before the middle is cut out of it; what is registered has the same limit."""
OTHERS = {
    b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"%!PS": "EPS", b"\xc5\xd0\xd3\xc6": "EPS",
    b"%PDF": "PDF", b"<": "SVG or other markup", b"\xef\xbb\xbf<": "SVG or other markup", b"8BPS": "PSD",
    b"\0\0\1\0": "ICO", b"\0\0\0\x0cjP": "JPEG 2000", b"\xff\x0a": "JPEG XL",
}  # fmt: skip
"""First bytes of what people may send in good faith and is not read: so that the answer can name it."""
BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, AssertionError,
    MemoryError, struct.error, zlib.error,
)  # fmt: skip
"""What the decoders raise about files that are not what their header says."""
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what puts the image upright."""

# Our own limit is checked right after the header is read; this one would only warn, and later than that.
Image.MAX_IMAGE_PIXELS = None
MAX_METADATA_BYTES = 16 << 20
# Profiles for printing and what editors note down are larger than Pillow lets them be.
PngImagePlugin.MAX_TEXT_CHUNK = MAX_METADATA_BYTES


def decode(data: bytes, settings: Settings, max_bytes: int | None = None) -> Image.Image:
    """The image upright and decoded, as L, LA, RGB, RGBA or, for 16-bit grey, I;16.

    Of 16 bits per channel in colour images the upper 8 are kept. `max_bytes` is that of the settings. Raises TooLargeError, UnsupportedMediaError or
    InvalidError.
    """
    most = settings.max_image_bytes if max_bytes is None else max_bytes
    if len(data) > most:
        raise _too_large(f"the file has {len(data)} bytes; {most} are allowed")
    _assert_readable(data)
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
        _assert_size(image, settings)
        image.load()
        return _in_plain_mode(_upright(image))
    except BROKEN as error:
        if "MAX_TEXT" in str(error):
            raise InvalidError(
                "metadata_too_large",
                f"the image's metadata take more than {MAX_METADATA_BYTES >> 20} MiB unpacked; save it without them",
            ) from None
        raise InvalidError(
            "broken_image", "the image is cut off or damaged; send the whole file as it was saved"
        ) from None


def fitted(image: Image.Image, wanted: ImageInput) -> Values:
    """(C, H, W), from 0 to 255. A decoded image of another size is made to fit as the model wants it.

    Grey has the weights of ITU-R BT.601. Raises InvalidError for an image too narrow for that.
    """
    values = _covering(image, wanted) if wanted.fit == "cover" else _stretched(image, wanted)
    channels_first = (
        np.broadcast_to(values, (wanted.channels, *values.shape))
        if values.ndim == 2
        else values.transpose(2, 0, 1)
    )
    # Side by side in memory: numbers that lie three by three take several times as long to compute with.
    return np.ascontiguousarray(channels_first)


def normalised(
    values: Values, wanted: ImageInput, into: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """(C, H, W) as in training, of what is `fitted`."""
    mean, std = mean_and_std(wanted)
    made: NDArray[np.float32] = np.divide(values, np.float32(255), out=into, dtype=np.float32)
    made -= mean
    made /= std
    return made


def mean_and_std(wanted: ImageInput) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(C, 1, 1) each, of pixels from 0 to 1."""
    mean, std = (np.array(each, dtype=np.float32)[:, None, None] for each in (wanted.mean, wanted.std))
    return mean, std


def _stretched(image: Image.Image, wanted: ImageInput) -> Values:
    """(H, W) or (H, W, 3), from 0 to 255."""
    if image.mode == "I;16":
        wide = Image.fromarray(np.asarray(image).astype(np.float32) / 257)
        return np.asarray(_resized(wide, wanted), dtype=np.float32).clip(0, 255)
    return np.asarray(_opaque(_resized(image, wanted), wanted))


def _covering(image: Image.Image, wanted: ImageInput) -> Values:
    """The same, just as registering a dataset makes its pictures (`training.registration.images`): sizes are rounded
    down, the place of what is cut out to even, and 16-bit grey to 8 bits before all else."""
    size, shorter, longer = wanted.width, min(image.size), max(image.size)
    if longer * size // shorter * size > MAX_RESIZED_PIXELS:
        raise InvalidError(
            "image_too_narrow",
            f"the image has {image.width} × {image.height} pixels, and the model sees only the square in its middle; "
            "cut out the part that matters",
        )
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    flat = _opaque(image, wanted)
    width, height = (size * side // shorter for side in image.size)
    if (width, height) != flat.size:
        flat = flat.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(flat.crop((left, top, left + size, top + size)))


def _opaque(image: Image.Image, wanted: ImageInput) -> Image.Image:
    shown = image if wanted.background is None else _on_background(image, wanted.background)
    return shown.convert("L" if wanted.channels == 1 else "RGB")


def _assert_readable(data: bytes) -> None:
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    if webp or data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        return
    start = data[:64].lstrip()
    other = next((name for first, name in OTHERS.items() if start.startswith(first)), None)
    if data[4:8] == b"ftyp":
        other = "HEIC, AVIF or video"
    if other:
        raise UnsupportedMediaError("unsupported_image", f"{other} is not read; send PNG, JPEG or WebP")
    raise InvalidError("not_an_image", "these bytes are not an image; send a PNG, JPEG or WebP file")


def _assert_size(image: Image.Image, settings: Settings) -> None:
    width, height = image.size
    if max(width, height) > settings.max_image_side:
        raise _too_large(
            f"the image has {width} × {height} pixels; {settings.max_image_side} a side are allowed"
        )
    if width * height > settings.max_image_pixels:
        raise _too_large(
            f"the image has {width} × {height} pixels; {settings.max_image_pixels} in all are allowed"
        )


def _too_large(what: str) -> TooLargeError:
    return TooLargeError("image_too_large", f"{what}; make the image smaller")


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ORIENTATION)
    except BROKEN:
        return image  # a camera's notes may be damaged where its picture is not
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def _in_plain_mode(image: Image.Image) -> Image.Image:
    if image.mode == "I;16":
        return _as_bytes(image) if image.has_transparency_data else image
    grey = "L" if image.mode in ("1", "L", "LA") else "RGB"
    return image.convert(grey + "A" if image.has_transparency_data else grey)


def _as_bytes(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, of which one is transparent, as LA."""
    wide = np.asarray(image)
    there = np.where(wide == image.info["transparency"], 0, 255).astype(np.uint8)
    return Image.merge("LA", [Image.fromarray((wide // 257).astype(np.uint8)), Image.fromarray(there)])


def _resized(image: Image.Image, wanted: ImageInput) -> Image.Image:
    size = (wanted.width, wanted.height)
    return image if image.size == size else image.resize(size, RESAMPLING)


def _on_background(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode not in ("LA", "RGBA"):
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image.convert("RGBA"))
