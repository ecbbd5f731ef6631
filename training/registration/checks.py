"""What a person should know of a dataset before training on it: label counts, and what may mislead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.registration.found import Array, Digests, Found, Ledger, Rows, Splits
from training.spec import Task
from training.spec.datasets import SplitName

MOST_UNUSABLE = 0.5
"""Of a split's samples; beyond it the files are not what they are taken for."""
FEWEST_TO_SELECT_BY = 100
MOST_FREQUENT = 0.9
SHOWN = 5


def usable_splits(found: Found, splits: Splits) -> Splits:
    """Without what was dropped. Raises DataError when too little is left to train and test on."""
    return {split: usable(rows, found.ledger, f" in {split}") for split, rows in splits.items()}


def usable(rows: Rows, ledger: Ledger, where: str = "") -> Rows:
    """Those that were not dropped. Raises DataError when that is less than half of them."""
    kept = ledger.kept(rows)
    if len(kept) == 0 or len(kept) < (1 - MOST_UNUSABLE) * len(rows):
        reasons = "; ".join(f"{each.count:,} because {each.reason}" for each in ledger.dropped)
        raise DataError(
            f"of the {len(rows):,} samples{where} only {len(kept):,} can be used"
            + (f": dropped were {reasons}" if reasons else "; is this the right folder and format?")
        )
    return kept


def label_counts(found: Found, splits: Splits) -> dict[str, dict[SplitName, dict[str, float]]]:
    return {
        task.name: {
            split: _counts(task, found.labels[task.name][rows], _names(task, found))
            for split, rows in splits.items()
        }
        for task in found.tasks
    }


def _counts(task: Task, labels: Array, names: Sequence[str]) -> dict[str, float]:
    if task.type == "regression":
        return {
            f"{what} {name}": round(float(value), 6)
            for what, values in (
                ("mean", labels.mean(0, dtype=np.float64)),
                ("deviation", labels.std(0, dtype=np.float64)),
            )
            for name, value in zip(names, values, strict=True)
        }
    return dict(zip(names, _frequencies(task, labels).tolist(), strict=True))


def warnings(
    found: Found, splits: Splits, digests: Digests, constant: Mapping[str, Sequence[int]]
) -> list[str]:
    """`constant`: modality → features that never change in training samples, of those it was found out for already."""
    return [
        *_selection(splits),
        *_duplicates(splits, digests),
        *_constant_columns(found, splits, constant),
        *(
            line
            for task in found.tasks
            for line in _label_warnings(task, found.labels[task.name], _names(task, found), splits)
        ),
    ]


def _selection(splits: Splits) -> list[str]:
    n = len(splits["val"]) if "val" in splits else FEWEST_TO_SELECT_BY
    return (
        [] if n >= FEWEST_TO_SELECT_BY else [f"val has {n} samples, too few to choose by with any confidence"]
    )


def _duplicates(splits: Splits, digests: Digests) -> list[str]:
    contents = {
        split: {b"".join(of_all[row] for of_all in digests.values()) for row in rows.tolist()}
        for split, rows in splits.items()
    }
    names = list(contents)
    pairs = ((a, b) for i, a in enumerate(names) for b in names[i + 1 :])
    shared = {(a, b): len(contents[a] & contents[b]) for a, b in pairs}
    return [
        f"{n:,} {'sample has' if n == 1 else 'samples have'} the same content in {a} and in {b}"
        for (a, b), n in shared.items()
        if n
    ]


def _constant_columns(found: Found, splits: Splits, constant: Mapping[str, Sequence[int]]) -> list[str]:
    columns = dict(constant)
    for name, content in found.contents.items():
        if isinstance(content, np.ndarray):
            flat = content[splits["train"]].reshape(-1, content.shape[-1])
            columns[name] = np.flatnonzero(flat.min(0) == flat.max(0)).tolist()
    return [
        f"{name} never changes in {_listed([str(each) for each in of_it], 'column')} of the training samples"
        for name, of_it in columns.items()
        if of_it
    ]


def _label_warnings(task: Task, labels: Array, names: Sequence[str], splits: Splits) -> list[str]:
    if task.type == "regression":
        return []
    lines = []
    for split, rows in splits.items():
        shares = _frequencies(task, labels[rows]) / len(rows)
        absent = [name for name, share in zip(names, shares, strict=True) if share == 0]
        if absent:
            what = "label" if task.type == "multilabel" else "class"
            lines.append(f"{task.name}: no sample of {split} has {_listed(absent, what)}")
        if split == "train" and task.type == "class" and shares.max() > MOST_FREQUENT:
            lines.append(
                f"{task.name}: {shares.max():.0%} of the training samples have class {names[int(shares.argmax())]}; always to "
                "say so would be right as often, so look at macro accuracy"
            )
    return lines


def _frequencies(task: Task, labels: Array) -> NDArray[np.float64]:
    counts = labels.sum(0) if task.type == "multilabel" else np.bincount(labels, minlength=task.classes)
    return counts.astype(np.float64)


def _names(task: Task, found: Found) -> Sequence[str]:
    return found.classes.get(task.name) or [str(k) for k in range(task.classes)]


def _listed(names: Sequence[str], what: str) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{what} {', '.join(names[:SHOWN])}{more}"
