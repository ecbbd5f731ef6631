"""An attempt with a real runner: how it ends, and what its end leaves behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, update

from service import jobs, leases
from service.db import Sessions, transaction
from service.settings import Settings
from service.tables import Attempt, Job, JobEvent, utc_now
from service.worker.runner import environment, started_at
from service.worker.supervise import Supervisor, Workplace
from tests.processes import eventually
from tests.service.worker.places import SMALL, a_job, a_lease, a_place, a_row
from training.run_dir import RunDir

pytestmark = pytest.mark.long
NICE = 1
"""Enough to be seen, and little enough for tests to be done beside others."""
LONG = {**SMALL, "epochs": 5000, "checkpoints": {"every_steps": 5}}


@pytest.fixture
def place(settings: Settings, sessions: Sessions) -> Workplace:
    return a_place(settings.model_copy(update={"runner_nice": NICE}), sessions)


@contextmanager
def supervised(place: Workplace) -> Iterator[threading.Thread]:
    """The queued job's next attempt, at work in a thread."""
    thread = threading.Thread(target=Supervisor(place, a_lease(place)).run)
    thread.start()
    try:
        yield thread
    finally:
        place.draining.set()
        thread.join(60)
        assert not thread.is_alive()


def steps_done(place: Workplace, job_id: str) -> int:
    return int(a_row(place.sessions, job_id).progress.get("step", 0))


def attempts(place: Workplace, job_id: str) -> list[Attempt]:
    with place.sessions() as session:
        return list(session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)))


def cancel(place: Workplace, job_id: str) -> None:
    with transaction(place.sessions) as session:
        jobs.cancel(session, jobs.get(session, job_id), "tests")


def gives_way(pid: int | None) -> bool:
    """All its threads do, and its session."""
    assert pid is not None
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    threads = [int(each.name) for each in Path(f"/proc/{pid}/task").iterdir()]
    least = min(os.getpriority(os.PRIO_PROCESS, each) for each in threads)
    group = Path(f"/proc/{pid}/autogroup")
    in_session = int(group.read_text().split("nice")[1]) if group.exists() else 19
    return min(least, in_session) >= min(19, ours + NICE)


def test_a_job_is_done_and_its_states_are_told_in_order(place: Workplace) -> None:
    job_id = a_job(place.sessions)
    Supervisor(place, a_lease(place)).run()
    job = a_row(place.sessions, job_id)
    assert (job.state, job.lease_owner, job.error) == ("succeeded", None, None)
    assert job.progress["step"] == job.progress["total"] == 16
    with place.sessions() as session:
        told = session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)).all()
    assert [each.text for each in told if each.type == "state"] == [
        "queued",
        "starting",
        "running",
        "succeeded",
    ]
    assert [each.seq for each in told] == list(range(1, len(told) + 1))
    (attempt,) = attempts(place, job_id)
    assert (attempt.outcome, attempt.exit_code) == ("succeeded", 0)
    assert attempt.pid is not None
    assert started_at(attempt.pid) is None


def test_a_cancelled_job_stops_soon_and_keeps_its_last_checkpoint(place: Workplace) -> None:
    job_id = a_job(place.sessions, spec=LONG)
    with supervised(place) as thread:
        eventually(lambda: steps_done(place, job_id) >= 5, 60)
        assert gives_way(attempts(place, job_id)[0].pid), "to whoever serves on this machine"
        cancel(place, job_id)
        thread.join(10)
        assert not thread.is_alive()
    job = a_row(place.sessions, job_id)
    assert (job.state, job.reason) == ("cancelled", "user_cancelled")
    assert any((place.settings.runs_dir / job_id / "checkpoints").glob("step_*/meta.json"))
    (attempt,) = attempts(place, job_id)
    assert (attempt.outcome, attempt.exit_code) == ("cancelled", 75)


def test_a_worker_that_ends_puts_its_job_back_without_blame(place: Workplace) -> None:
    job_id = a_job(place.sessions, spec=LONG)
    with supervised(place):
        eventually(lambda: steps_done(place, job_id) >= 5, 60)
    job = a_row(place.sessions, job_id)
    assert (job.state, job.crashes) == ("queued", 0)
    assert attempts(place, job_id)[0].outcome == "interrupted"


def test_a_runner_that_is_killed_is_tried_again_and_goes_on(place: Workplace) -> None:
    job_id = a_job(place.sessions, spec={**LONG, "epochs": 40})
    with supervised(place) as thread:
        eventually(lambda: steps_done(place, job_id) >= 10, 60)
        os.kill(attempts(place, job_id)[0].pid or 0, signal.SIGKILL)
        thread.join(10)
    job = a_row(place.sessions, job_id)
    assert (job.state, job.crashes) == ("queued", 1)
    assert job.not_before is not None
    assert job.not_before > utc_now()
    with transaction(place.sessions) as session:
        session.execute(update(Job).values(not_before=None))
    place.draining.clear()
    Supervisor(place, a_lease(place)).run()
    assert a_row(place.sessions, job_id).state == "succeeded"
    lost, last = attempts(place, job_id)
    assert (lost.outcome, lost.exit_code, last.outcome) == ("lost", -9, "succeeded")
    assert "ran out of memory" in (lost.detail or "")


def test_a_job_that_crashes_every_time_is_given_up(place: Workplace) -> None:
    job_id = a_job(place.sessions, spec=LONG, max_attempts=2)
    for _ in range(2):
        place.draining.clear()
        with supervised(place) as thread:
            eventually(
                lambda: len(attempts(place, job_id)) > 0 and attempts(place, job_id)[-1].pid is not None, 60
            )
            os.kill(attempts(place, job_id)[-1].pid or 0, signal.SIGKILL)
            thread.join(10)
        with transaction(place.sessions) as session:
            session.execute(update(Job).values(not_before=None))
    job = a_row(place.sessions, job_id)
    assert (job.state, job.reason) == ("failed", "runner_lost")
    assert "given up after 2 attempts" in (job.error or "")


def test_a_run_that_cannot_succeed_fails_once_with_its_reason(place: Workplace) -> None:
    blown = {**SMALL, "method": "cross", "optim": {"lr": 10.0, "weight_decay": 10.0}, "epochs": 200}
    job_id = a_job(place.sessions, spec=blown)
    Supervisor(place, a_lease(place)).run()
    job = a_row(place.sessions, job_id)
    assert (job.state, job.reason, job.crashes) == ("failed", "non_finite_loss", 0)
    assert "at step" in (job.error or "")


@pytest.mark.slow
def test_a_runner_that_hangs_is_killed_and_tried_again(settings: Settings, sessions: Sessions) -> None:
    # The runner's start alone, in which it imports torch and says nothing, may take as long as this.
    place = a_place(settings.model_copy(update={"stall_s": 20.0, "cancel_grace_s": 0.5}), sessions)
    job_id = a_job(sessions, spec=LONG)
    with supervised(place) as thread:
        eventually(lambda: steps_done(place, job_id) >= 1, 60)
        os.kill(attempts(place, job_id)[0].pid or 0, signal.SIGSTOP)
        thread.join(40)
        assert not thread.is_alive()
    job = a_row(sessions, job_id)
    assert (job.state, job.crashes) == ("queued", 1)
    assert "said nothing for 20 s" in (attempts(place, job_id)[0].detail or "")


def test_a_supervisor_that_lost_its_lease_kills_its_runner_and_writes_nothing(place: Workplace) -> None:
    job_id = a_job(place.sessions, spec=LONG)
    with supervised(place) as thread:
        eventually(lambda: steps_done(place, job_id) >= 1, 60)
        with transaction(place.sessions) as session:
            leases.take_back(session, session.get_one(Job, job_id, with_for_update=True))
        thread.join(10)
        assert not thread.is_alive()
    job = a_row(place.sessions, job_id)
    assert (job.state, job.crashes) == ("queued", 1)
    pid = attempts(place, job_id)[0].pid
    assert pid is not None
    assert started_at(pid) is None


def test_what_was_done_but_not_said_is_not_done_again(place: Workplace) -> None:
    job_id = a_job(place.sessions)
    Supervisor(place, a_lease(place)).run()
    events = RunDir(place.settings.runs_dir / job_id).events.read_bytes()
    with transaction(place.sessions) as session:  # as if the worker had died before it settled
        session.execute(update(Job).values(state="queued", not_before=None))
    Supervisor(place, a_lease(place)).run()
    assert a_row(place.sessions, job_id).state == "succeeded"
    assert RunDir(place.settings.runs_dir / job_id).events.read_bytes() == events


def test_a_runner_inherits_no_secret_and_no_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "FUSEBOX_DATABASE_URL",
        "REDIS_URL",
        "FUSEBOX_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "PGPASSWORD",
        "HF_TOKEN",
    ):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    inherited = environment(tmp_path)
    assert "canary" not in inherited.values()
    assert inherited["CUDA_VISIBLE_DEVICES"] == "1"


def test_a_runner_is_told_where_datasets_and_pretrained_towers_lie(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("FUSEBOX_PRETRAINED_DIR", raising=False)
    monkeypatch.setenv("FUSEBOX_HUB", "1")
    told = environment(tmp_path / "datasets")
    assert told["FUSEBOX_DATASETS_DIR"] == str(tmp_path / "datasets")
    assert told["FUSEBOX_PRETRAINED_DIR"] == str(tmp_path / "pretrained")
    assert told["FUSEBOX_HUB"] == "1"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSEBOX_PRETRAINED_DIR", "towers")
    assert environment(tmp_path)["FUSEBOX_PRETRAINED_DIR"] == str(tmp_path / "towers")
