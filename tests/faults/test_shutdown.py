"""A service that is asked to end saves what it was doing, and goes on with it when it is started again."""

from __future__ import annotations

import pytest

from service.client import Client
from service.db import Sessions
from service.one_machine.up import LocalService
from service.settings import Settings
from tests.faults.history import SPEC, check, row
from tests.processes import eventually
from training.run_dir import RunDir


@pytest.mark.slow
def test_a_training_goes_on_after_the_service_was_stopped_and_started(
    settings: Settings, sessions: Sessions, expected_weights: str
) -> None:
    settings = settings.model_copy(update={"port": 0})
    with LocalService(settings) as service, Client(service.url) as client:
        job_id = client.submit("train", SPEC)["id"]
        eventually(lambda: int(row(sessions, job_id).progress.get("step", 0)) >= 50, 60)
    job = row(sessions, job_id)
    assert (job.state, job.crashes, job.lease_owner) == ("queued", 0, None)
    with LocalService(settings):
        eventually(lambda: row(sessions, job_id).state == "succeeded", 120)
    attempts = check(sessions, job_id, RunDir(settings.runs_dir / job_id), expected_weights)
    assert [attempt.outcome for attempt in attempts] == ["interrupted", "succeeded"]
