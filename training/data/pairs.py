"""Pairs of items that share one attribute, and the four tasks that tell redundancy, uniqueness and synergy apart.

The construction is that of CoMM (arXiv:2409.07402, section 5.1): two items are a pair when they agree in their
*shared* attribute. What both tell is redundancy, what one tells is uniqueness, and whether the *answer* of the second
is the *partner* of the *cue* of the first is synergy: it can be told from both items together only. Random numbers
are drawn in the order of the published code, so its counts and its mapping are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError

Ints = NDArray[np.int64]
SEED = 42


@dataclass(frozen=True)
class Attributes:
    """What is true of each item, as classes (N,)."""

    share: Ints
    unique: Ints
    cue: Ints
    answer: Ints


def _generator() -> tuple[Ints, np.random.Generator]:
    rng = np.random.default_rng(SEED)
    return rng.permutation(10), rng


def random_partners() -> Ints:
    """Cue → answer (10,): the mapping of the published Trifeatures."""
    return _generator()[0]


def allowed_pairs(items: Attributes, partners: Ints, biased: bool) -> Ints:
    """All ordered pairs of rows (P, 2) that agree in `share`, an item with itself included; row-major order.

    `biased`: only those with the synergy relation.
    """
    allowed = items.share[:, None] == items.share
    if biased:
        allowed &= partners[items.cue][:, None] == items.answer
    return np.argwhere(allowed)


def draw_pairs(items: Attributes, partners: Ints, *, biased: bool, count: int, at_most: bool = False) -> Ints:
    """`count` different pairs (count, 2), always the same ones. `at_most`: all there are when that is fewer.

    Raises DataError when there are fewer.
    """
    pairs = allowed_pairs(items, partners, biased)
    if len(pairs) < count and not at_most:
        raise DataError(f"{count} pairs are asked for but only {len(pairs)} exist; make n_pairs smaller")
    _, rng = _generator()
    return pairs[rng.choice(len(pairs), min(count, len(pairs)), replace=False)]


def draw_balanced(items: Attributes, partners: Ints, *, count: int) -> Ints:
    """`count` different pairs (count, 2), half of them with the synergy relation: guessing it scores one half."""
    pairs = allowed_pairs(items, partners, biased=False)
    related = pair_labels(items, partners, pairs)["synergy"] == 1
    _, rng = _generator()
    halves = [rng.choice(np.flatnonzero(each), count // 2, replace=False) for each in (related, ~related)]
    return pairs[rng.permutation(np.concatenate(halves))]


def pair_labels(items: Attributes, partners: Ints, pairs: Ints) -> dict[str, Ints]:
    """Task → classes (n,) of the pairs (n, 2)."""
    first, second = pairs.T
    return {
        "share": items.share[first],
        "unique1": items.unique[first],
        "unique2": items.unique[second],
        "synergy": (partners[items.cue[first]] == items.answer[second]).astype(np.int64),
    }
