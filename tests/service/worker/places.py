"""A worker's place in a test: its jobs, its lease, and runs whose events the test writes itself."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from models_store.store import ModelStore
from service import jobs, leases
from service.bell import SilentBell
from service.db import Sessions, transaction
from service.leases import Lease, Worker
from service.settings import Settings
from service.tables import Job
from service.worker.supervise import Workplace
from training.events import Event
from training.run_dir import EventWriter, RunDir
from training.spec import Kind

SMALL: dict[str, Any] = {
    "dataset": {"name": "digits", "n_pairs": 256, "form": "captions"},
    "model": {"dim": 16, "heads": 2, "head_hidden": 32, "head_out": 16},
    "optim": {"lr": 1e-3},
    "batch_size": 32,
    "epochs": 2,
    "threads": 1,
    "device": "cpu",
}
"""A training of 16 steps that takes a second, once torch is there."""


def a_place(settings: Settings, sessions: Sessions, name: str = "test-worker") -> Workplace:
    return Workplace(
        settings=settings,
        sessions=sessions,
        store=ModelStore(settings.models_url),
        bell=SilentBell(),
        worker=Worker(name, "test-host"),
        draining=threading.Event(),
    )


def a_job(sessions: Sessions, kind: Kind = "train", spec: Mapping[str, Any] = SMALL, **rest: Any) -> str:
    with transaction(sessions) as session:
        return jobs.create(session, jobs.checked(session, kind, spec), actor="tests", **rest).id


def a_lease(place: Workplace) -> Lease:
    lease = leases.claim(place.sessions, ("cpu", "gpu"), place.worker, place.settings.lease_s)
    assert lease is not None
    return lease


def a_row(sessions: Sessions, job_id: str) -> Job:
    with sessions() as session:
        return session.get_one(Job, job_id)


def say(run_dir: RunDir, *events: Event) -> None:
    """What a runner would do."""
    run_dir.path.mkdir(parents=True, exist_ok=True)
    writer = EventWriter(run_dir)
    for event in events:
        writer.write(event)
    writer.close()
