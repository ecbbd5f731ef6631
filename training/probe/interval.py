"""Probes while training: quick estimates of what the representation knows, so that it can be watched growing.

Curves of macro accuracy are named `probe/TASK`, and `probe/mean` over all tasks; those of another metric say which:
`probe/TASK/mse`. Over tasks of several metrics, the mean is `probe/mean/score`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from training.data import Data, Split
from training.errors import DataError
from training.events import Metrics
from training.methods import Method
from training.probe.features import Embedded, embed_split
from training.probe.linear import Recipe, choose, fit_chosen, require_finite, require_possible
from training.probe.neighbours import nearest, vote
from training.probe.scores import value_of
from training.runner import Run, in_full_precision
from training.spec import Task, TrainSpec

SEED = 48
LESS_IS_BETTER = ("mse",)

Answers = dict[Task, tuple[Tensor, Tensor]]
"""Outputs (n, K) of a task's probe, and what is true."""


@in_full_precision()
def probe_now(run: Run, spec: TrainSpec, method: Method, data: Data, step: int, epoch: int) -> float | None:
    """Mean score over all tasks, greater being better; None when no probe is due after this epoch, or none is possible.

    Scored on validation samples. Where there are none, `strict` scores on training samples that it holds out, and
    `reference` on test samples, by which it then selects. Uses no random generator that the training uses.
    """
    if not spec.probe.every_epochs or (epoch + 1) % spec.probe.every_epochs:
        return None
    other = data.probe_test if data.probe_val is None and spec.protocol == "reference" else data.probe_val
    try:
        answers = _answers(
            run,
            spec,
            _embedded(method, spec, data, data.probe_train),
            None if other is None else _embedded(method, spec, data, other),
        )
    except DataError as error:
        run.say(f"no probe after epoch {epoch + 1}: {error}", level="warning")
        return None
    values = {
        task: value_of(task, spec.probe.score_of(task), outputs, truth)
        for task, (outputs, truth) in answers.items()
    }
    curves = {_curve(task.name, spec.probe.score_of(task)): value for task, value in values.items()}
    scores = [_greater_is_better(spec, task, value) for task, value in values.items() if math.isfinite(value)]
    score = sum(scores) / len(scores) if scores else None
    if score is not None:
        metrics = {spec.probe.score_of(task) for task in values}
        metric = metrics.pop() if len(metrics) == 1 else "score"
        curves[_curve("mean", metric)] = -score if metric in LESS_IS_BETTER else score
    run.tell(Metrics.of(step, epoch, curves))
    return score


def _embedded(method: Method, spec: TrainSpec, data: Data, split: Split) -> Embedded:
    """At most as many samples as the spec says, evenly spread over the split."""
    count = min(spec.probe.max_samples, len(split))
    rows = torch.arange(count, device=next(method.parameters()).device) * len(split) // count
    x = embed_split(method, spec.dataset, data, split, "strict", rows)
    return Embedded(x, {task: truth[rows] for task, truth in split.labels.items()})


def _answers(run: Run, spec: TrainSpec, train: Embedded, other: Embedded | None) -> Answers:
    """Of `other`, or without it of training samples that are held out."""
    require_finite(train.x, "training")
    if other is not None:
        require_finite(other.x, "validation")
    if spec.probe.by == "neighbours":
        neighbours, asked = nearest(train.x, other.x if other else None), other or train
        return {
            task: (vote(neighbours, task, train.labels[task.name]), asked.labels[task.name])
            for task in _possible(run, spec, train, held_out=False)
        }
    recipe = Recipe(spec.protocol, SEED, fine=False)
    if spec.protocol == "reference" and other is not None:
        tasks = _possible(run, spec, train, held_out=True)
        probes = fit_chosen(train, tasks, dict(choose(train, None, tasks, recipe)))
        return {task: (probes[task.name](other.x), other.labels[task.name]) for task in tasks}
    tasks = _possible(run, spec, train, held_out=other is None)
    choices = dict(choose(train, other, tasks, recipe))
    return {task: (choices[task.name].outputs, choices[task.name].truth) for task in tasks}


def _possible(run: Run, spec: TrainSpec, train: Embedded, *, held_out: bool) -> Sequence[Task]:
    """The tasks that so few samples are enough for; the training goes on without the others' curves."""
    possible = []
    for task in spec.dataset.tasks:
        try:
            require_possible(task, train.labels[task.name], held_out=held_out)
        except DataError as error:
            run.say(f"no probe: {error}", level="warning")
        else:
            possible.append(task)
    return possible


def _greater_is_better(spec: TrainSpec, task: Task, value: float) -> float:
    return -value if spec.probe.score_of(task) in LESS_IS_BETTER else value


def _curve(of: str, metric: str) -> str:
    return f"probe/{of}" if metric == "macro_accuracy" else f"probe/{of}/{metric}"
