"""Who trains, who selects and who tests: as the data says, or drawn so that nothing that belongs together comes apart.

Drawn are 80, 10 and 10 % of the samples, always the same way: groups are sorted by their hash and come into the test and
then into the validation while there is room for them. What has no group is grouped by content, that of its first image
where there is one, so that a picture with several captions, or one that comes twice, is in one split only.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from training.errors import DataError
from training.registration.checks import usable
from training.registration.found import Digests, Ledger, Splits, same_for_all
from training.spec import Protocol
from training.spec.datasets import SplitName

SHARE = 0.1
"""Of the samples that are for the test, and of those for validation."""
MOST_OF_ONE = 1 / 3
"""A group may be no larger a part of all samples to be a test or a validation by itself."""


def given(splits: Sequence[SplitName | None], ledger: Ledger) -> Mapping[Protocol, Splits]:
    """A split for each sample, None for those that were dropped. Raises DataError when there is nothing to test on."""
    rows: dict[SplitName, list[int]] = {"train": [], "val": [], "test": []}
    for row, split in enumerate(splits):
        if split is not None:
            rows[split].append(row)
    if not rows["test"] and rows["val"]:
        rows["test"], rows["val"] = rows["val"], []
        ledger.note("there is no split for the test; the one for validation is taken for it")
    if not rows["train"] or not rows["test"]:
        named = ", ".join(split for split, of_it in rows.items() if of_it) or "none"
        raise DataError(
            f"the data names splits, but of train and test there must be both; there is {named}. Without any, samples are "
            "split here"
        )
    return same_for_all({split: np.array(of_it, dtype=np.int64) for split, of_it in rows.items() if of_it})


def drawn(
    n: int, groups: Sequence[str | None] | None, by: Sequence[str], ledger: Ledger
) -> Callable[[Digests], Mapping[Protocol, Splits]]:
    """`by`: modalities whose content groups what has no group."""

    def draw(digests: Digests) -> Mapping[Protocol, Splits]:
        kept = usable(np.arange(n), ledger)
        together: defaultdict[bytes, list[int]] = defaultdict(list)
        for row in kept.tolist():
            group = groups[row] if groups is not None else None
            content = b"".join(digests[name][row] for name in by) if group is None else f"={group}".encode()
            together[hashlib.blake2b(content, digest_size=16).digest()].append(row)
        return same_for_all(_shared_out([together[key] for key in sorted(together)], len(kept)))

    return draw


def _shared_out(groups: Sequence[list[int]], n: int) -> Splits:
    room = -(-n // round(1 / SHARE))
    rows: dict[SplitName, list[int]] = {"train": [], "val": [], "test": []}
    for group in groups:
        for split in ("test", "val"):
            fits = len(rows[split]) + len(group) <= room
            if fits or (not rows[split] and len(group) <= MOST_OF_ONE * n):
                rows[split] += group
                break
        else:
            rows["train"] += group
    if not all(rows.values()):
        raise DataError(
            f"the {n:,} samples that can be used are of {len(groups):,} groups or different contents, too few or too "
            "unequal to make three splits of them"
        )
    return {split: np.array(sorted(of_it), dtype=np.int64) for split, of_it in rows.items()}
