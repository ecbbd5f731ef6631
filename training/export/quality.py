"""What embeddings are worth: of some of the modalities, and in other precisions. n samples, S subsets, D width."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from models_store.manifest import Closeness, Quality, Score, ScoreChange, SubsetQuality
from training.data import Data
from training.export.held_out import HeldOut, cosines, spread
from training.export.network import Vectors
from training.methods import Method
from training.probe.features import Embedded, embed_split
from training.probe.logistic import Linear
from training.probe.ridge import fit_ridge
from training.probe.scores import value_of
from training.probe.search import COSTS
from training.spec import Task, TrainSpec

MOST_FITTED_ON = 2_000
FITTED = 0.8
"""Of these samples, while the penalty is chosen by the others."""
ROUNDING = 1e-9
"""Of a difference of two scores."""
METRICS = {"class": "macro_accuracy", "multilabel": "f1_macro", "regression": "r2"}


@dataclass(frozen=True)
class Probes:
    """Fitted on embeddings of every modality, in fp32."""

    tasks: tuple[Task, ...]
    fitted: Mapping[str, Linear]
    n: int
    """Training samples."""

    def scores(self, vectors: Vectors, labels: Mapping[str, Tensor]) -> dict[str, Score]:
        """Of held-out vectors (n, D), by task; none where these samples do not differ."""
        found = {}
        for task in self.tasks:
            metric = METRICS[task.type]
            outputs = self.fitted[task.name](torch.from_numpy(vectors))
            value = value_of(task, metric, outputs, labels[task.name])
            if math.isfinite(value):
                found[task.name] = Score(metric=metric, value=value)
        return found


def fit_probes(method: Method, trained: TrainSpec, data: Data) -> Probes:
    """One ridge regression per task, of 1 for what is right and -1 for what is not, where it is no task of numbers.

    A task whose truths are not finite has none, and no task has one when there are next to no training samples.
    """
    total = len(data.probe_train)
    rows = spread(total, min(total, MOST_FITTED_ON))
    x = embed_split(method, trained.dataset, data, data.probe_train, "strict", rows)
    train = Embedded(x, {task: truth[rows] for task, truth in data.probe_train.labels.items()})
    tasks = tuple(
        task
        for task in trained.dataset.tasks
        if len(rows) >= 2 and bool(train.labels[task.name].isfinite().all()) and bool(x.isfinite().all())
    )
    return Probes(tasks, {task.name: _fitted(train, task) for task in tasks}, len(rows) if tasks else 0)


def _fitted(train: Embedded, task: Task) -> Linear:
    truth = train.labels[task.name]
    wanted = targets(task, truth)
    count = max(1, int(FITTED * len(truth)))
    order = torch.randperm(len(truth), generator=torch.Generator().manual_seed(0))
    fitted, left = order[:count], order[count:]
    tried = fit_ridge(train.x[fitted], wanted[fitted], COSTS)
    metric = METRICS[task.type]
    values = [value_of(task, metric, probe(train.x[left]), truth[left]) for probe in tried]
    best = max(range(len(tried)), key=lambda at: values[at] if math.isfinite(values[at]) else -math.inf)
    (probe,) = fit_ridge(train.x, wanted, [tried[best].strength])
    return probe


def targets(task: Task, truth: Tensor) -> Tensor:
    """What a regression is fitted to (n, K)."""
    match task.type:
        case "class":
            return 2.0 * one_hot(truth, task.classes) - 1
        case "multilabel":
            return 2.0 * (truth > 0.5) - 1
        case "regression":
            return truth


def quality(vectors: Vectors, held: HeldOut, probes: Probes) -> Quality:
    """Of each subset's vectors (S, n, D)."""
    found = []
    for subset, own in zip(held.subsets, vectors, strict=True):
        near = cosines(own, vectors[-1])
        found.append(
            SubsetQuality(
                modalities=subset,
                mean_cosine=float(near.mean()),
                min_cosine=float(near.min()),
                scores=probes.scores(own, held.labels),
            )
        )
    return Quality(samples=vectors.shape[1], fitted_on=probes.n, subsets=tuple(found))


def closeness(fp32: Vectors, here: Vectors, held: HeldOut, probes: Probes) -> Closeness | None:
    """Of a precision's vectors (S, n, D) to those of fp32; none when some of them are not finite."""
    if not np.isfinite(here).all():
        return None
    before, after = (probes.scores(each[-1], held.labels) for each in (fp32, here))
    return Closeness(
        max_abs_diff=float(np.abs(here - fp32).max()),
        min_cosine=float(cosines(fp32, here).min()),
        samples=here.shape[1],
        scores={
            task: ScoreChange(metric=before[task].metric, fp32=before[task].value, here=after[task].value)
            for task in before
            if task in after
        },
    )


def too_far(near: Closeness | None, min_cosine: float, max_score_drop: float) -> str | None:
    """Why a precision cannot be published; None when it can.

    Scores of either kind are better the greater they are. A probe whose score in fp32 is not above 0 knows nothing that it
    could lose: an r² may fall from there without end, and say nothing.
    """
    if near is None:
        return "some held-out embeddings are not finite in it"
    if near.min_cosine < min_cosine:
        return (
            f"a held-out embedding has a cosine of {near.min_cosine:.4f} to that of fp32, less than "
            f"{min_cosine:g}; if that is acceptable, export again with a smaller min_cosine"
        )
    drops = {task: each.fp32 - each.here for task, each in near.scores.items() if each.fp32 > 0}
    worst = max(drops, key=lambda task: drops[task], default=None)
    if worst is None or drops[worst] <= max_score_drop + ROUNDING:
        return None
    change = near.scores[worst]
    return (
        f"a probe's {change.metric} for the task {worst!r} falls from {change.fp32:.3f} in fp32 to {change.here:.3f}, by "
        f"more than {max_score_drop:g}; if that is acceptable, export again with a larger max_score_drop"
    )
