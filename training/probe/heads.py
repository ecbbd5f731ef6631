"""A task's fitted probe as files that can be served beside the model: RUN_DIR/heads/TASK.f32 and TASK.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from models_store.files import digest_of
from models_store.heads import HeadManifest, HeadScore, HeadSource, packed, write_head
from models_store.store import StoreError
from training.checkpoint import WEIGHTS, Meta
from training.events import HeadKept
from training.probe.features import crops_at_random
from training.probe.logistic import Linear
from training.probe.scores import Estimate, chance
from training.runner import Run
from training.spec import DatasetSpec, ProbeSpec, Registered, Task
from training.spec.registration import read_registered


@dataclass(frozen=True)
class Probed:
    """What was probed and how, the same for all tasks."""

    spec: ProbeSpec
    checkpoint: Meta
    n_train: int
    n_test: int


def keep_head(run: Run, probed: Probed, task: Task, probe: Linear, scores: Mapping[str, Estimate]) -> None:
    """Writes the head and tells of it. A head that nobody could serve is not kept, which is said."""
    weight, bias = (each.float().cpu().numpy() for each in (probe.weight, probe.bias))
    try:
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise StoreError("its weights are not finite")
        weights = packed(weight, bias)
        manifest = HeadManifest(
            task=task.name,
            family=task.family,
            type=task.type,
            outputs=task.classes,
            names=output_names(probed.checkpoint.spec.dataset, task, run.datasets_dir),
            embedding_dim=len(weight),
            scores={metric: _score(task, metric, score) for metric, score in scores.items()},
            source=_source(run.dir.name, probed, probe),
            weights_sha256=digest_of(weights),
        )
        sha256 = write_head(run.dir.heads, manifest, weights)
    except (StoreError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        run.say(f"task {task.name}: its probe cannot be kept to be served: {reason}", level="warning")
    else:
        run.tell(HeadKept(task=task.name, sha256=sha256))


def output_names(dataset: DatasetSpec, task: Task, datasets_dir: Path) -> tuple[str, ...] | None:
    """What the classes or labels of a registered dataset are called; as its report has them."""
    if task.type == "regression" or not isinstance(dataset, Registered):
        return None
    try:
        _, report = read_registered(datasets_dir, dataset.sha256)
    except (OSError, ValidationError):
        return None
    return report.counted(task)


def _score(task: Task, metric: str, score: Estimate) -> HeadScore:
    return HeadScore(value=score.value, ci95=score.interval, chance=chance(task, metric))


def _source(probe_job_id: str, probed: Probed, probe: Linear) -> HeadSource:
    meta, spec = probed.checkpoint, probed.spec
    return HeadSource(
        probe_job_id=probe_job_id,
        job_id=spec.run,
        method=meta.spec.method.name,
        dataset=meta.spec.dataset.name,
        dataset_sha256=meta.dataset_sha256,
        step=meta.step,
        checkpoint_sha256=meta.sha256[WEIGHTS],
        protocol=spec.protocol,
        penalty=spec.penalty,
        seed=spec.seed,
        cost=probe.strength,
        n_train=probed.n_train,
        n_test=probed.n_test,
        random_crops=crops_at_random(meta.spec.dataset, spec.protocol),
        code_version=version("fusebox"),
    )
