"""The digits that the demo embeds: a file, so it must be shown that they are what it says."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.demo.images import SIDE, as_png, as_text, unseen_digits
from training.data import load
from training.spec import Digits


def test_they_are_the_first_of_each_numeral_in_the_test_split(tmp_path: Path) -> None:
    split = load(Digits(form="captions"), tmp_path).probe_test
    images = split.pools["image"][split.index["image"], 0].numpy()
    numerals = split.labels["digit"].numpy()
    expected = np.concatenate([images[numerals == numeral][:30] for numeral in range(10)])
    shown = unseen_digits(30)
    assert [numeral for numeral, _ in shown] == np.repeat(np.arange(10), 30).tolist()
    assert np.array_equal(np.stack([scan for _, scan in shown]), expected)


def test_a_png_of_one_has_its_pixels() -> None:
    _, scan = unseen_digits(1)[7]
    with Image.open(BytesIO(as_png(scan))) as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), scan)


@pytest.mark.parametrize(
    ("pixel", "shade"), [(0, " "), (51, " "), (52, "░"), (128, "▒"), (204, "▓"), (255, "█")]
)
def test_a_picture_in_text_is_as_dark_as_the_scan(pixel: int, shade: str) -> None:
    picture = as_text(np.full((SIDE, SIDE), pixel, dtype=np.uint8)).split("\n")
    assert picture == [2 * SIDE * shade] * SIDE
