"""Jobs as clients submit them, and rows as workers leave them, made by hand."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from models_store.heads import HeadManifest, write_head
from service import jobs, leases, requests
from service.db import Sessions, transaction
from service.leases import Ending, Lease, Worker
from service.settings import Settings
from service.tables import Checkpoint, Job, ProbeResult, utc_now
from training.run_dir import RunDir

SPEC: dict[str, Any] = {
    "dataset": {"name": "digits", "n_pairs": 256},
    "batch_size": 32,
    "epochs": 2,
    "device": "cpu",
}
LEASE_S = 30.0


def submitted(
    client: TestClient, kind: str = "train", spec: dict[str, Any] = SPEC, **rest: Any
) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json={"kind": kind, "spec": spec, **rest})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def claimed(sessions: Sessions, worker: str = "worker-1") -> Lease:
    lease = leases.claim(sessions, ("cpu", "gpu"), Worker(worker, "host"), LEASE_S)
    assert lease is not None, "there is nothing to claim"
    return lease


def started(sessions: Sessions, worker: str = "worker-1") -> Lease:
    """Claimed, and its runner has said so."""
    lease = claimed(sessions, worker)
    with transaction(sessions) as session:
        jobs.move(session, leases.held(session, lease), "running", actor=worker)
    return lease


def settled(
    sessions: Sessions, lease: Lease, outcome: Any, reason: str | None = None, text: str | None = None
) -> None:
    with transaction(sessions) as session:
        leases.settle(session, leases.held(session, lease), Ending(outcome, reason, text))


def row(sessions: Sessions, job_id: str) -> Job:
    with sessions() as session:
        return session.get_one(Job, job_id)


def trained(sessions: Sessions, *, state: str = "succeeded", **spec: Any) -> str:
    """A training that has ended."""
    with transaction(sessions) as session:
        job = jobs.create(session, requests.checked(session, "train", SPEC | spec), actor="tests")
        job.state, job.finished_at = state, utc_now()
        return job.id


def checkpointed(sessions: Sessions, job_id: str, step: int, **columns: Any) -> None:
    with transaction(sessions) as session:
        given = {"epoch": 0, "path": f"checkpoints/{step}", "sha256": "c" * 64, "size_bytes": 10} | columns
        session.add(Checkpoint(job_id=job_id, step=step, **given))


def scored(
    sessions: Sessions, training: str, value: float, *, probe: str | None = None, **columns: Any
) -> str:
    """A score on the training, measured by the job `probe` or by a new one. Returns the probe job's id."""
    given: dict[str, Any] = {
        "checkpoint_step": 16, "dataset": "digits", "task": "synergy", "family": "synergy", "metric": "macro_accuracy",
        "split": "test", "protocol": "strict", "seed": 42, "chance": 0.5, "n": 100,
    } | columns  # fmt: skip
    with transaction(sessions) as session:
        if probe is None:
            key = (training, given["checkpoint_step"])
            if session.get(Checkpoint, key) is None:
                session.add(
                    Checkpoint(job_id=training, step=key[1], epoch=0, path="", sha256="", size_bytes=0)
                )
                session.flush()
            spec = {"run": training, "seed": given["seed"], "checkpoint": given["checkpoint_step"]}
            probe = jobs.create(session, requests.checked(session, "probe", spec), actor="tests").id
        session.add(ProbeResult(job_id=probe, model_job_id=training, value=value, **given))
    return probe


def probed(
    sessions: Sessions,
    settings: Settings,
    training: str,
    *heads: tuple[bytes, bytes],
    state: str = "succeeded",
) -> str:
    """A probe of the training's last checkpoint that has kept these heads. Returns its id."""
    with transaction(sessions) as session:
        if session.get(Checkpoint, (training, 16)) is None:
            session.add(Checkpoint(job_id=training, step=16, epoch=0, path="", sha256="", size_bytes=0))
            session.flush()
        job = jobs.create(session, requests.checked(session, "probe", {"run": training}), actor="tests")
        job.state = state
        for content, weights in heads:
            manifest = HeadManifest.model_validate_json(content)
            sha256 = write_head(RunDir(settings.runs_dir / job.id).heads, manifest, weights)
            leases.tell(session, job, "head", "kept", task=manifest.task, sha256=sha256)
        return job.id
