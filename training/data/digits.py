"""Handwritten digits: 1,797 scans of 8 × 8 pixels that come with scikit-learn, so real data is always at hand.

1,437 digits are for training and 360 for the test, every class in proportion, always the same ones. As pairs: two
digits of equal parity (share), digit 1 and digit 2 (uniqueness), and whether digit 2 is digit 1's partner (synergy).
Every partner has the parity of its digit and is another digit; each digit has one partner among the five digits of
its parity, so a fifth of unbiased pairs are positive. Of the pairs that probes see, half are: a linear classifier that
sees few positives learns to say "never", which would hide what the representation knows.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from training.data.forms import Family, Items
from training.data.pairs import SEED, Attributes, Ints
from training.spec import Digits

N_TEST = 360
PARTNERS = np.array([6, 5, 0, 9, 2, 7, 8, 3, 4, 1])
NORMALISATION = ((0.305,), (0.376,))
"""Of the training digits."""
NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SENTENCES = (
    "a handwritten {numeral}",
    "the digit {numeral}, written by hand",
    "a scan of the number {numeral}",
    "someone wrote {article} {numeral}",
    "this is {article} {numeral}",
    "{numeral}",
)


def digits(spec: Digits) -> Family:
    scans = load_digits()
    # Scans count inked pixels, 0 to 16.
    images = np.round(scans.images * (255 / 16)).astype(np.uint8)
    train, test = train_test_split(
        np.arange(len(images)), test_size=N_TEST, stratify=scans.target, random_state=SEED
    )
    return Family(
        train=_items(images[train], scans.target[train], spec.image_size),
        test=_items(images[test], scans.target[test], spec.image_size),
        partners=PARTNERS,
        captions=tuple(_captions(numeral) for numeral in NUMERALS),
        normalisation=NORMALISATION,
        probe_train_pairs=10_000,
        probe_test_pairs=4_000,
        balanced=("probe_train", "probe_test"),
    )


def _items(images: np.ndarray, digit: Ints, size: int) -> Items:
    pool = torch.from_numpy(images)[:, None]
    if size != pool.shape[-1]:
        larger = F.interpolate(pool.float(), size=(size, size), mode="bilinear", align_corners=False)
        pool = larger.round().to(torch.uint8)
    digit = digit.astype(np.int64)
    return Items(
        images=pool.contiguous(),
        attributes=Attributes(share=digit % 2, unique=digit, cue=digit, answer=digit),
        labels={"digit": digit},
        named=digit,
    )


def _captions(numeral: str) -> tuple[str, ...]:
    article = "an" if numeral == "eight" else "a"
    return tuple(sentence.format(numeral=numeral, article=article) for sentence in SENTENCES)
