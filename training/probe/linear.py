"""Linear probes: choose how strongly to penalise by samples not fitted on, then fit on all that may be fitted on.

In come embeddings with what is to be predicted from them; each task is probed by its type: softmax regressions for
classes, one logistic regression per label, ridge regressions for numbers. Tasks that share samples and shapes are solved
together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from torch import Tensor

from training.errors import DataError
from training.probe.entropy import Problem
from training.probe.features import Embedded
from training.probe.logistic import Linear, fit_classes, fit_labels
from training.probe.ridge import fit_ridge
from training.probe.scores import macro_accuracy, macro_f1
from training.probe.search import COSTS, search_cost
from training.spec import Penalty, Protocol, Task

REFERENCE_SPLIT_SEED = 48
FITTED = {"class": 0.6, "multilabel": 0.6, "regression": 0.8}
"""Share of the training samples that is fitted on when the rest is held out to choose by."""


_Score = Callable[[Tensor, Tensor], float]
"""Outputs (n, K) and truth → greater for better ones."""


HELD_OUT = "some of each class are held out to choose the probe by; use more training samples, or data with a validation split"


class Recipe(NamedTuple):
    protocol: Protocol
    seed: int
    """Draws the samples that are held out; under `reference` they are always the published ones."""
    fine: bool = True
    """Whether to look between the decades for the best cost of a task of classes."""
    penalty: Penalty = "norm"
    """Of tasks of classes."""


@dataclass(frozen=True)
class Choice:
    """The strength that was best on samples not fitted on, and what was predicted of these with it."""

    strength: float
    score: float
    """Macro accuracy, macro F1, or the negative of the mean squared error: greater is better."""
    outputs: Tensor  # (n, K)
    truth: Tensor


class _Parts(NamedTuple):
    """Embeddings and what is true of them: to fit on, and to choose by."""

    x: Tensor
    y: Tensor
    other_x: Tensor
    other_y: Tensor


def choose(
    train: Embedded, val: Embedded | None, tasks: Sequence[Task], recipe: Recipe
) -> Iterator[tuple[str, Choice]]:
    """Task by task, by name. Chosen by `val`; without it, by a part of `train` that is then not fitted on.

    Raises DataError when embeddings are not finite, or a class has too few samples.
    """
    require_finite(train.x, "training")
    if val is not None:
        require_finite(val.x, "validation")
    for task in tasks:
        require_possible(task, train.labels[task.name], held_out=val is None)
    for group in _solved_together(tasks, val is not None):
        parts = [_parts(train, val, task, recipe) for task in group]
        yield from zip((task.name for task in group), _choices(group[0], parts, recipe), strict=True)


def fit_chosen(
    train: Embedded, tasks: Sequence[Task], choices: Mapping[str, Choice], penalty: Penalty = "norm"
) -> dict[str, Linear]:
    """The probes, by task, fitted on all of `train` with the strengths that were chosen."""
    probes: dict[str, Linear] = {}
    for group in _solved_together(tasks, shared=True):
        problems = [Problem(train.labels[task.name], choices[task.name].strength) for task in group]
        match group[0].type:
            case "class":
                fitted = fit_classes(train.x, problems, group[0].classes, penalty)
            case "multilabel":
                fitted = [fit_labels(train.x, y > 0.5, [cost])[0] for y, cost in problems]
            case "regression":
                fitted = [fit_ridge(train.x, y, [alpha])[0] for y, alpha in problems]
        probes |= zip((task.name for task in group), fitted, strict=True)
    return probes


def require_finite(x: Tensor, what: str) -> None:
    """Raises DataError when there are embeddings with NaN or infinite numbers, or none at all."""
    broken = int((~x.isfinite()).any(1).sum())
    if broken:
        raise DataError(
            f"the embeddings of {broken} of {len(x)} {what} samples are not finite; look for such numbers in the data "
            "and for a loss that grew without bound in the training's curves"
        )
    if not len(x):
        raise DataError(f"there are no {what} samples to probe with")


def require_possible(task: Task, y: Tensor, *, held_out: bool) -> None:
    """Raises DataError unless every class has training samples, all numbers are finite, and samples suffice when some of
    them are held out."""
    if task.type == "class":
        _require_classes(task, y, 2 if held_out else 1)
    else:
        broken = int((~y.isfinite()).view(len(y), -1).any(1).sum())
        if broken:
            raise DataError(
                f"task {task.name}: what {broken} of {len(y)} training samples should give is not finite"
            )
    fitted = int(FITTED[task.type] * len(y))
    least = task.classes if task.type == "class" else 1
    if held_out and min(fitted, len(y) - fitted) < least:
        raise DataError(f"task {task.name}: {len(y)} training samples are too few: {HELD_OUT}")


def _require_classes(task: Task, y: Tensor, least: int) -> None:
    count = y.bincount(minlength=task.classes)
    if len(count) > task.classes:
        raise DataError(
            f"task {task.name}: there is a class {len(count) - 1}, but the task has {task.classes} classes"
        )
    rarest = int(count.argmin())
    if count[rarest] == 0:
        raise DataError(f"task {task.name}: no training sample has class {rarest}; use more training samples")
    if count[rarest] < least:
        raise DataError(f"task {task.name}: class {rarest} has a single training sample: {HELD_OUT}")


def split_for_selection(task: Task, y: Tensor, protocol: Protocol, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to fit on and to choose by: 60 % and 40 % with equal shares of each class, 80 % and 20 % for regressions.

    Protocol `reference` always draws the published split; `strict` draws it by the probe's seed.
    """
    random_state = REFERENCE_SPLIT_SEED if protocol == "reference" else seed
    kind = StratifiedShuffleSplit if task.type == "class" else ShuffleSplit
    splitter = kind(n_splits=1, train_size=FITTED[task.type], random_state=random_state)
    fitted, selected = next(splitter.split(np.zeros(len(y)), y.cpu().numpy()))
    return torch.from_numpy(fitted).to(y.device), torch.from_numpy(selected).to(y.device)


def _solved_together(tasks: Sequence[Task], shared: bool) -> list[list[Task]]:
    """Tasks of as many classes when they share samples; all others alone."""
    groups: dict[object, list[Task]] = {}
    for task in tasks:
        alone = not shared or task.type != "class"
        groups.setdefault(task.name if alone else task.classes, []).append(task)
    return list(groups.values())


def _parts(train: Embedded, val: Embedded | None, task: Task, recipe: Recipe) -> _Parts:
    y = train.labels[task.name]
    if val is not None:
        return _Parts(train.x, y, val.x, val.labels[task.name])
    fitted, selected = split_for_selection(task, y, recipe.protocol, recipe.seed)
    return _Parts(train.x[fitted], y[fitted], train.x[selected], y[selected])


def _choices(like: Task, parts: Sequence[_Parts], recipe: Recipe) -> list[Choice]:
    """For tasks of one type and size whose parts share their embeddings."""
    match like.type:
        case "class":
            return _choose_costs(parts, like.classes, recipe)
        case "multilabel":
            return [_best(each, fit_labels(each.x, each.y > 0.5, COSTS), _f1) for each in parts]
        case "regression":
            return [_best(each, fit_ridge(each.x, each.y, COSTS), _minus_mse) for each in parts]


def _choose_costs(parts: Sequence[_Parts], classes: int, recipe: Recipe) -> list[Choice]:
    """The searches of all tasks side by side: what they want to know next is fitted together."""
    searches = [search_cost(fine=recipe.fine) for _ in parts]
    asked = [next(search) for search in searches]
    found: list[dict[float, Choice]] = [{} for _ in parts]
    best = [0.0 for _ in parts]
    while any(asked):
        problems = [Problem(own.y, cost) for own, costs in zip(parts, asked, strict=True) for cost in costs]
        probes = iter(fit_classes(parts[0].x, problems, classes, recipe.penalty))
        for at, (own, costs) in enumerate(zip(parts, asked, strict=True)):
            if not costs:
                continue
            new = [_judged(own, probe, _macro_accuracy) for probe in islice(probes, len(costs))]
            found[at] |= zip(costs, new, strict=True)
            try:
                asked[at] = searches[at].send([each.score for each in new])
            except StopIteration as stop:
                asked[at], best[at] = [], stop.value
    return [choices[cost] for choices, cost in zip(found, best, strict=True)]


def _best(parts: _Parts, probes: Sequence[Linear], score: _Score) -> Choice:
    return max((_judged(parts, probe, score) for probe in probes), key=lambda choice: choice.score)


def _judged(parts: _Parts, probe: Linear, score: _Score) -> Choice:
    outputs = probe(parts.other_x)
    return Choice(probe.strength, score(outputs, parts.other_y), outputs, parts.other_y)


def _macro_accuracy(logits: Tensor, truth: Tensor) -> float:
    return macro_accuracy(logits.argmax(1), truth)


def _f1(logits: Tensor, truth: Tensor) -> float:
    return macro_f1(logits > 0, truth > 0.5)


def _minus_mse(values: Tensor, truth: Tensor) -> float:
    return -float((values.double() - truth.double()).square().mean())
