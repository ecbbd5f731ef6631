"""What must hold of a job's history whatever was killed meanwhile, and the undisturbed run to compare it with."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from sqlalchemy import select

from service.db import Sessions
from service.tables import Attempt, Job, JobEvent, MetricPoint, MetricSeries
from service.worker.runner import started_at
from tests.service.worker.places import SMALL
from tests.training.runs import done, made
from training import checkpoint
from training.run_dir import RunDir
from training.spec import TrainSpec

SPEC: dict[str, Any] = {
    **SMALL,
    "dataset": {"name": "digits", "n_pairs": 1024, "form": "captions"},
    "epochs": 12,
    "checkpoints": {"every_steps": 10},
    "probe": {"every_epochs": 4, "max_samples": 500},
}
"""384 steps in some ten seconds; a checkpoint every ten of them."""
TOTAL = 384


def undisturbed(folder: Path) -> str:
    """The sha256 of the final weights of a run that nothing happens to."""
    run_dir = made(folder / "undisturbed", TrainSpec.model_validate(SPEC))
    assert done("fit", run_dir) == 0
    return weights(run_dir)


def weights(run_dir: RunDir) -> str:
    folder = checkpoint.folder_of(run_dir, checkpoint.steps(run_dir)[-1])
    return hashlib.sha256((folder / checkpoint.WEIGHTS).read_bytes()).hexdigest()


def row(sessions: Sessions, job_id: str) -> Job:
    with sessions() as session:
        return session.get_one(Job, job_id)


def last_attempt(sessions: Sessions, job_id: str) -> Attempt | None:
    with sessions() as session:
        return session.scalar(
            select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number.desc()).limit(1)
        )


def check(sessions: Sessions, job_id: str, run_dir: RunDir, expected_weights: str) -> list[Attempt]:
    """Raises AssertionError unless the job ended as an undisturbed one does. Returns its attempts."""
    with sessions() as session:
        job = session.get_one(Job, job_id)
        attempts = list(
            session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number))
        )
        events = list(
            session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq))
        )
        points = {
            name: list(
                session.scalars(
                    select(MetricPoint.step)
                    .join(MetricSeries, MetricSeries.id == MetricPoint.series_id)
                    .where(MetricSeries.job_id == job_id, MetricSeries.name == name)
                    .order_by(MetricPoint.step)
                )
            )
            for name in ("loss", "lr", "loss/mask_1", "probe/mean")
        }
    assert job.state == "succeeded", (job.state, job.reason, job.error)
    assert (job.lease_owner, job.lease_expires_at) == (None, None)

    every_step = list(range(1, TOTAL + 1))
    assert points == {
        "loss": every_step, "lr": every_step, "loss/mask_1": every_step, "probe/mean": [128, 256, 384]
    }, "a curve has holes or doubles"  # fmt: skip
    assert weights(run_dir) == expected_weights

    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    states = [event.data["to"] for event in events if event.type == "state"]
    assert states.count("succeeded") == 1
    assert states[-1] == "succeeded"
    tokens = [attempt.token for attempt in attempts]
    assert tokens == sorted(set(tokens)), "a token was given twice"
    assert [attempt.outcome for attempt in attempts].count("succeeded") == 1
    assert all(attempt.finished_at for attempt in attempts)
    assert not [each.pid for each in attempts if each.pid and started_at(each.pid) == each.pid_started]
    return attempts
