"""Something is killed at a random moment of a training; the training ends as if nothing had happened.

The moments are drawn anew in each run. FUSEBOX_FAULT_SEED repeats those that a failed run names.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from service.client import Client, UnreachableError
from service.db import Sessions
from service.one_machine.up import LocalService
from service.settings import Settings
from tests.faults.history import SPEC, TOTAL, check, last_attempt, row
from tests.processes import eventually
from training.run_dir import RunDir

pytestmark = pytest.mark.long
SEED = os.environ.get("FUSEBOX_FAULT_SEED") or secrets.token_hex(4)
PATIENCE_S = 120


@pytest.fixture
def fusebox(settings: Settings, redis_url: str) -> Iterator[LocalService]:
    redis.Redis.from_url(redis_url).flushall()
    with LocalService(settings.model_copy(update={"port": 0, "redis_url": redis_url})) as service:
        yield service


class Fault:
    """One training in a real service, and everything that may be done to it."""

    def __init__(self, fusebox: LocalService, sessions: Sessions, settings: Settings, name: str) -> None:
        self.fusebox, self.sessions, self.settings = fusebox, sessions, settings
        self.random = random.Random(f"{SEED} {name}")
        print(f"FUSEBOX_FAULT_SEED={SEED}")  # noqa: T201  shown when the test fails
        with Client(fusebox.url) as client:
            self.job_id = str(client.submit("train", SPEC)["id"])

    def await_random_moment(self) -> None:
        """Some step of the training, early enough that something is left to do."""
        step = self.random.randrange(1, TOTAL // 2)
        eventually(lambda: int(row(self.sessions, self.job_id).progress.get("step", 0)) >= step, PATIENCE_S)
        time.sleep(self.random.uniform(0, 0.5))

    def kill_runner(self) -> None:
        attempt = last_attempt(self.sessions, self.job_id)
        assert attempt is not None
        assert attempt.pid is not None
        os.kill(attempt.pid, signal.SIGKILL)

    def kill(self, part: str) -> None:
        os.kill(self.fusebox.pids[part], signal.SIGKILL)

    def await_end(self) -> None:
        eventually(
            lambda: row(self.sessions, self.job_id).state in ("succeeded", "failed", "cancelled"), PATIENCE_S
        )

    def outcomes(self, expected_weights: str) -> list[str | None]:
        self.await_end()
        run_dir = RunDir(self.settings.runs_dir / self.job_id)
        return [each.outcome for each in check(self.sessions, self.job_id, run_dir, expected_weights)]


@pytest.fixture
def fault(
    fusebox: LocalService, sessions: Sessions, settings: Settings, request: pytest.FixtureRequest
) -> Fault:
    return Fault(fusebox, sessions, settings, request.node.name)


@pytest.mark.slow
def test_a_killed_trainer_loses_nothing(fault: Fault, expected_weights: str) -> None:
    fault.await_random_moment()
    fault.kill_runner()
    assert fault.outcomes(expected_weights) == ["lost", "succeeded"]


def test_a_killed_worker_loses_nothing(fault: Fault, expected_weights: str) -> None:
    fault.await_random_moment()
    fault.kill("worker-1")
    assert fault.outcomes(expected_weights) == ["lost", "succeeded"]


@pytest.mark.slow
def test_a_killed_api_disturbs_no_training_and_comes_back(fault: Fault, expected_weights: str) -> None:
    fault.await_random_moment()
    fault.kill("api")
    assert fault.outcomes(expected_weights) == ["succeeded"]
    with Client(fault.fusebox.url) as client:
        assert client.job(fault.job_id)["state"] == "succeeded"


@pytest.mark.slow
def test_a_flushed_redis_loses_neither_running_nor_queued_jobs(
    fault: Fault, redis_url: str, expected_weights: str
) -> None:
    with Client(fault.fusebox.url) as client:
        waiting = client.submit("train", {**SPEC, "epochs": 1, "seed": 1})["id"]
    fault.await_random_moment()
    redis.Redis.from_url(redis_url).flushall()
    assert fault.outcomes(expected_weights) == ["succeeded"]
    eventually(lambda: row(fault.sessions, waiting).state == "succeeded", PATIENCE_S)


@pytest.mark.slow
def test_everything_is_killed_more_than_once_and_nothing_is_lost(fault: Fault, expected_weights: str) -> None:
    blows = [fault.kill_runner, lambda: fault.kill("worker-1"), lambda: fault.kill("api")] * 2
    fault.random.shuffle(blows)
    with Client(fault.fusebox.url) as client:  # three losses by accident alone would give the job up
        fault.job_id = client.submit("train", {**SPEC, "seed": 42}, max_attempts=20)["id"]
    for blow in blows:
        eventually(lambda: row(fault.sessions, fault.job_id).state == "running", PATIENCE_S)
        time.sleep(fault.random.uniform(0.5, 3))
        try:
            blow()
        except (ProcessLookupError, KeyError, UnreachableError):
            continue  # it was dead already
    fault.outcomes(expected_weights)


@pytest.mark.slow
def test_who_asks_again_with_the_same_key_after_a_killed_api_gets_the_same_job(
    fusebox: LocalService, sessions: Sessions, tmp_path: Path
) -> None:
    with Client(fusebox.url) as client:
        first = client.submit("train", {**SPEC, "epochs": 1}, key="once")
        os.kill(fusebox.pids["api"], signal.SIGKILL)
        answers = []
        eventually(lambda: _again(client, answers), 30)
    assert answers == [first["id"]]
    eventually(lambda: row(sessions, first["id"]).state == "succeeded", PATIENCE_S)


def _again(client: Client, answers: list[str]) -> bool:
    try:
        answers.append(client.submit("train", {**SPEC, "epochs": 1}, key="once")["id"])
    except UnreachableError:
        return False
    return True
