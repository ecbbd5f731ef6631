"""Any picture that people send becomes what the network was trained on, or is refused before it costs anything."""

from __future__ import annotations

import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models_store.manifest import ImageInput
from service.errors import FuseboxError, InvalidError, TooLargeError, UnsupportedMediaError
from service.inference.graphs import batch_of
from service.inference.images import TURNS, decode
from service.inference.prepare import Given, Sample, prepare
from service.settings import Settings
from tests.models_store.bundles import manifest
from tests.service.pictures import OTHERS, bomb, file, noise, pixels, png, truncated_png
from training.data.samples import IMAGENET, normalise
from training.registration.images import square

ORIENTATION = 0x0112


@pytest.fixture
def limits(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def network(size: int = 8, channels: int = 1, **changes: Any) -> ImageInput:
    """Takes pixels as they are, in [0, 1]."""
    plain = {"mean": (0.0,) * channels, "std": (1.0,) * channels, "background": (0, 0, 0)}
    return ImageInput(
        name="image",
        channels=channels,
        height=size,
        width=size,
        **{**plain, **changes},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_the_models_size_is_prepared_as_in_training(limits: Settings, channels: int) -> None:
    mean, std = ((0.305,), (0.376,)) if channels == 1 else IMAGENET
    sent = noise(16, 16, seed=3, mode="L" if channels == 1 else "RGB")
    raw = torch.from_numpy(np.array(sent)).view(1, 16, 16, channels).permute(0, 3, 1, 2)
    trained_on = normalise(raw.float() / 255, (mean, std))[0]
    ours = pixels(decode(file(sent), limits), network(16, channels, mean=mean, std=std))
    assert ours.dtype == np.float32
    assert np.abs(ours - trained_on.numpy()).max() <= 1e-6


def test_sixteen_bit_grey_is_scaled_and_not_clipped(limits: Settings) -> None:
    ramp = np.linspace(0, 65_535, 64).astype(np.uint16).reshape(8, 8)
    sent = file(Image.fromarray(ramp))
    assert np.allclose(pixels(decode(sent, limits), network())[0], ramp / 65_535, atol=1e-6)
    colour = pixels(decode(sent, limits), network(channels=3))
    assert np.allclose(colour, ramp / 65_535, atol=1e-6)
    smaller = pixels(decode(sent, limits), network(4))
    assert smaller.min() >= 0
    assert 0.4 < smaller.mean() < 0.6


def test_bytes_stand_for_a_picture_where_it_has_no_more_than_bytes(limits: Settings) -> None:
    """Of sixteen bits the numbers are no bytes; they might be those that somebody sends as a tensor."""
    described = manifest({}, inputs=[network().model_dump()])
    deep = Image.fromarray(np.linspace(0, 65_535, 64).astype(np.uint16).reshape(8, 8))
    for picture, has_bytes in ((noise(8, 8, seed=1, mode="L"), True), (deep, False)):
        sample = prepare(Given({"image": file(picture)}, ""), described, {}, limits)
        assert isinstance(sample, Sample)
        assert (sample.arrays["image"].dtype == np.uint8) is has_bytes
        if has_bytes:
            assert np.array_equal(sample.arrays["image"][0], np.asarray(picture))
        (batch,) = batch_of(network(), [sample.arrays["image"]])
        assert np.array_equal(batch, pixels(decode(file(picture), limits), network()))


def test_transparent_parts_show_the_models_background(limits: Settings) -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    for background in ((255, 255, 255), (0, 0, 0), (0, 0, 255)):
        shown = pixels(decode(file(clear), limits), network(channels=3, background=background))
        assert np.array_equal(shown[:, 0, 0] * 255, background)
    half = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    shown = pixels(decode(file(half), limits), network(channels=3))
    assert np.allclose(shown[:, 0, 0] * 255, (128, 0, 0), atol=1)
    grey = file(Image.new("LA", (8, 8), (200, 0)))
    assert pixels(decode(grey, limits), network(background=(255, 255, 255))).min() == 1


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_a_colour_named_transparent_is_transparent(limits: Settings, mode: str) -> None:
    sent = Image.new(mode, (8, 8), 0)
    transparent = (0, 0, 0) if mode == "RGB" else 0
    shown = pixels(decode(file(sent, transparency=transparent), limits), network(background=(255, 255, 255)))
    assert shown.min() == 1


def test_a_grey_of_sixteen_bits_named_transparent_is_transparent(limits: Settings) -> None:
    deep = np.full((8, 8), 30_000, dtype=np.uint16)
    deep[:, :4] = 40_000
    shown = pixels(
        decode(file(Image.fromarray(deep), transparency=40_000), limits), network(background=(255, 255, 255))
    )
    assert shown[0, :, :4].min() == 1
    assert np.allclose(shown[0, :, 4:], 30_000 / 65_535, atol=1 / 255)


def test_metadata_may_be_long_but_not_without_end(limits: Settings) -> None:
    picture = noise(seed=3)
    printed = file(picture, icc_profile=bytes(3 << 20))
    assert np.array_equal(decode(printed, limits), np.asarray(picture))
    with pytest.raises(InvalidError, match="metadata take more than 16 MiB") as caught:
        decode(file(picture, icc_profile=bytes(17 << 20)), limits)
    assert caught.value.code == "metadata_too_large"


def test_a_palette_is_looked_up(limits: Settings) -> None:
    colours = noise(mode="RGB").quantize(16)
    shown = pixels(decode(file(colours), limits), network(channels=3))
    assert np.array_equal(
        np.round(shown * 255), np.asarray(colours.convert("RGB"), dtype=np.float32).transpose(2, 0, 1)
    )


def test_printing_inks_become_light(limits: Settings) -> None:
    white_paper = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    assert pixels(decode(file(white_paper, "JPEG"), limits), network(channels=3)).min() > 0.98
    shown = pixels(decode(file(cyan, "JPEG"), limits), network(channels=3))[:, 0, 0]
    assert np.allclose(shown, (0, 1, 1), atol=0.02)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_taken_sideways_is_put_upright(limits: Settings, kind: str, orientation: int) -> None:
    upright = Image.new("L", (16, 24), 0)
    upright.paste(255, (0, 0, 8, 8))  # white in the upper left corner, a colour that survives JPEG
    undo = {6: 8, 8: 6}.get(orientation, orientation)
    stored = upright.transpose(TURNS[undo]) if undo in TURNS else upright
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    image = decode(file(stored, kind, exif=exif, **lossless), limits).convert("L")
    assert image.size == (16, 24)
    assert np.abs(np.asarray(image, dtype=int) - np.asarray(upright, dtype=int)).max() < 40


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
@pytest.mark.parametrize("notes", [b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\0\x09", b"Exif\0\0"])
def test_damaged_notes_of_a_camera_do_not_cost_the_picture(limits: Settings, notes: bytes) -> None:
    assert decode(file(noise(), exif=notes), limits).size == (8, 8)


def test_shrinking_averages_instead_of_picking(limits: Settings) -> None:
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    sent = file(Image.fromarray(checks.astype(np.uint8)))
    assert np.abs(pixels(decode(sent, limits), network(8)) - 0.5).max() < 0.02


def test_of_an_animation_the_first_frame_counts(limits: Settings) -> None:
    black, white = Image.new("L", (8, 8), 0), Image.new("L", (8, 8), 255)
    moving = file(
        black.convert("RGB"), "WEBP", save_all=True, append_images=[white.convert("RGB")], lossless=True
    )
    assert pixels(decode(moving, limits), network()).max() == 0


WAYS_TO_STORE: dict[str, bytes] = {
    "colour": file(noise(90, 61, mode="RGB")),
    "grey": file(noise(50, 77)),
    "lossy": file(noise(64, 48, mode="RGB"), "JPEG"),
    "printing inks": file(noise(64, 48, mode="RGB").convert("CMYK"), "JPEG"),
    "webp": file(noise(33, 64, mode="RGB"), "WEBP"),
    "half transparent": file(Image.merge("RGBA", (*noise(60, 40, mode="RGB").split(), noise(60, 40, 1)))),
    "transparent grey": file(Image.merge("LA", (noise(60, 40), noise(60, 40, 1)))),
    "palette": file(noise(60, 40, mode="RGB").quantize(16)),
    "palette with a transparent colour": file(noise(60, 40, mode="RGB").quantize(16), transparency=3),
    "grey with a transparent shade": file(noise(60, 40), transparency=7),
    "black and white": file(noise(60, 40).convert("1")),
    "sixteen bits": file(Image.fromarray(np.random.default_rng(0).integers(0, 65_536, (40, 60), np.uint16))),
    "its own size": file(noise(32, 32, mode="RGB")),
    "wide by one": file(noise(33, 32, mode="RGB")),
    "very wide": file(noise(400, 7, mode="RGB")),
}


@pytest.mark.parametrize("name", WAYS_TO_STORE)
def test_a_covering_image_has_the_very_pixels_that_registering_gives_it(limits: Settings, name: str) -> None:
    data = WAYS_TO_STORE[name]
    takes = network(32, 3, fit="cover", background=None)
    assert np.array_equal(np.round(pixels(decode(data, limits), takes) * 255), square(data, 32))


def test_an_image_too_narrow_to_be_cut_to_a_square_is_refused(limits: Settings) -> None:
    narrow = decode(file(Image.new("L", (16_384, 1))), limits)
    with pytest.raises(InvalidError, match="16384 × 1 pixels") as caught:
        pixels(narrow, network(224, 3, fit="cover", background=None))
    assert caught.value.code == "image_too_narrow"
    assert pixels(narrow, network(8)).shape == (1, 8, 8), "stretching costs nothing"


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_named_and_refused(limits: Settings, name: str) -> None:
    with pytest.raises(UnsupportedMediaError, match="send PNG, JPEG or WebP"):
        decode(OTHERS[name], limits)


@pytest.mark.parametrize("data", [b"", b"hello", bytes(100), b"RIFF\0\0\0\0WAVE", png()[1:]])
def test_what_is_no_image_is_refused(limits: Settings, data: bytes) -> None:
    with pytest.raises(InvalidError) as caught:
        decode(data, limits)
    assert caught.value.code == "not_an_image"


@pytest.mark.parametrize(
    "data",
    [
        truncated_png(),
        png()[:20],
        file(noise(64, 64), "JPEG")[:-400],
        file(noise(64, 64), "WEBP")[:-200],
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"RIFF\x10\0\0\0WEBPVP8 ",
    ],
)
def test_a_cut_off_image_is_refused(limits: Settings, data: bytes) -> None:
    with pytest.raises(InvalidError) as caught:
        decode(data, limits)
    assert caught.value.code == "broken_image"


def test_a_decompression_bomb_is_refused_before_it_is_decoded(limits: Settings) -> None:
    data = bomb(13_000, 13_000)
    assert len(data) < 100_000
    began = time.thread_time()
    with pytest.raises(TooLargeError, match="13000 × 13000"):
        decode(data, limits)
    assert time.thread_time() - began < 0.1


def test_every_limit_is_the_settings(tmp_path: Path) -> None:
    decode(png(width=64, height=64), Settings(data_dir=tmp_path, max_image_pixels=4096, max_image_side=64))
    for changes in ({"max_image_pixels": 4095}, {"max_image_side": 63}, {"max_image_bytes": 100}):
        with pytest.raises(TooLargeError):
            decode(png(width=64, height=64), Settings(data_dir=tmp_path, **changes))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_whatever_byte_is_wrong_there_is_a_picture_or_a_clear_refusal(limits: Settings) -> None:
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    files = [file(noise(24, 24, mode="RGB"), kind, exif=exif) for kind in ("PNG", "JPEG", "WEBP")]
    files.append(file(noise(24, 24, mode="RGB").quantize(16), transparency=3))
    outcomes = set()
    for data in files:
        for _ in range(300):
            spoilt = bytearray(data)
            for place in random.integers(0, min(len(data), random.choice([64, 256, len(data)])), 2):
                spoilt[place] = random.integers(256)
            try:
                image = decode(bytes(spoilt), limits)
                assert pixels(image, network()).shape == (1, 8, 8)
                outcomes.add("a picture")
            except FuseboxError as refusal:
                outcomes.add(refusal.code)
    assert outcomes >= {"a picture", "broken_image"}


def test_an_image_is_read_from_its_bytes_alone(limits: Settings) -> None:
    """Whatever a file calls itself, only the three decoders are ever asked."""
    disguised = BytesIO()
    noise().save(disguised, "PPM")
    with pytest.raises(InvalidError, match="not an image"):
        decode(disguised.getvalue(), limits)
