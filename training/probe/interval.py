"""Probes while training: quick estimates of what the representation knows, so that it can be watched growing."""

from __future__ import annotations

from training.data import Data
from training.events import Metrics
from training.methods import Method
from training.probe.features import embed_split
from training.probe.linear import fit_probe
from training.probe.scores import macro_accuracy
from training.runner import Run
from training.spec import TrainSpec


def probe_now(run: Run, spec: TrainSpec, method: Method, data: Data, step: int, epoch: int) -> float | None:
    """Mean macro accuracy over all tasks, or None when no probe is due after this epoch.

    `strict` scores on held-out training samples; `reference` scores on test samples, and so selects on them.
    Uses no random generator that the training uses.
    """
    if not spec.probe.every_epochs or (epoch + 1) % spec.probe.every_epochs:
        return None
    protocol, limit = spec.protocol, spec.probe.max_samples
    train = embed_split(method, spec.dataset, data, data.probe_train, "strict", limit)
    test = None
    if protocol == "reference":
        test = embed_split(method, spec.dataset, data, data.probe_test, "strict", limit)
    values: dict[str, float] = {}
    for task in spec.dataset.tasks:
        probe, held_out = fit_probe(
            train, data.probe_train.labels[task.name][: len(train)], task, protocol, 48, fine=False
        )
        if test is not None:
            held_out = macro_accuracy(
                probe.logits(test).argmax(1), data.probe_test.labels[task.name][: len(test)]
            )
        values[f"probe/{task.name}"] = held_out
    score = sum(values.values()) / len(values)
    run.tell(Metrics.of(step, epoch, {**values, "probe/mean": score}))
    return score
