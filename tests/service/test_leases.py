"""Workers' side of a job's life: claimed by one, believed for a while, and never harmed by who comes back late."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select

from service import jobs, leases, metrics, requests
from service.bell import SilentBell
from service.db import Sessions, transaction
from service.errors import ConflictError
from service.leases import Ending, FencedError, Lease, Worker
from service.states import TERMINAL
from service.tables import Attempt, Job, JobEvent, utc_now
from service.worker.reconcile import free_lost_jobs
from tests.service.rows import LEASE_S, SPEC, claimed, row, settled, started
from training.events import Metrics

WORKER = Worker("worker-1", "host")


def queued(sessions: Sessions, **rest: Any) -> str:
    with transaction(sessions) as session:
        return jobs.create(session, requests.checked(session, "train", SPEC), actor="tests", **rest).id


def expire(sessions: Sessions, job_id: str) -> None:
    with transaction(sessions) as session:
        session.get_one(Job, job_id).lease_expires_at = utc_now() - timedelta(seconds=1)


def free_now(sessions: Sessions, job_id: str) -> None:
    """As if the pause after a crash were over."""
    with transaction(sessions) as session:
        session.get_one(Job, job_id).not_before = None


def everything(sessions: Sessions, job_id: str) -> tuple[Any, ...]:
    """All that a worker could have written about a job."""
    with sessions() as session:
        job = session.get_one(Job, job_id)
        attempts = session.scalars(select(Attempt).where(Attempt.job_id == job_id)).all()
        events = session.scalars(select(JobEvent).where(JobEvent.job_id == job_id)).all()
        curves = metrics.summaries(session, job_id)
        rows = [
            {c.name: getattr(each, c.name) for c in each.__table__.columns}
            for each in (job, *attempts, *events)
        ]
        return rows, curves


def test_the_most_urgent_job_is_taken_first_and_the_oldest_of_equals(sessions: Sessions) -> None:
    low, first, second, high = (queued(sessions, priority=priority) for priority in (-1, 0, 0, 5))
    assert [claimed(sessions).job_id for _ in range(4)] == [high, first, second, low]
    assert leases.claim(sessions, ("cpu", "gpu"), WORKER, LEASE_S) is None


def test_a_worker_takes_only_from_its_queues(sessions: Sessions) -> None:
    job_id = queued(sessions)
    assert leases.claim(sessions, ("gpu",), WORKER, LEASE_S) is None
    lease = leases.claim(sessions, ("cpu",), WORKER, LEASE_S)
    assert lease == Lease(job_id, "train", token=1, attempt=1)


@pytest.mark.parametrize("n_workers", [2, 8])
def test_of_racing_workers_each_job_gets_one(sessions: Sessions, n_workers: int) -> None:
    there = [queued(sessions) for _ in range(12)]
    together = threading.Barrier(n_workers)

    def work(number: int) -> list[str]:
        mine = []
        together.wait()
        while lease := leases.claim(sessions, ("cpu",), Worker(f"worker-{number}", "host"), LEASE_S):
            mine.append(lease.job_id)
        return mine

    with ThreadPoolExecutor(n_workers) as pool:
        taken = [job_id for mine in pool.map(work, range(n_workers)) for job_id in mine]
    assert sorted(taken) == sorted(there)
    assert {(job.attempt, job.token, job.state) for job in (row(sessions, job_id) for job_id in there)} == {
        (1, 1, "starting")
    }


def test_no_worker_goes_away_empty_while_there_is_a_job_for_each(sessions: Sessions) -> None:
    n = 6
    there = [queued(sessions) for _ in range(n)]
    together = threading.Barrier(n)

    def take(number: int) -> str:
        together.wait()
        return claimed(sessions, f"worker-{number}").job_id

    with ThreadPoolExecutor(n) as pool:
        assert sorted(pool.map(take, range(n))) == sorted(there)


def test_a_cancellation_and_a_claim_at_once_have_one_winner(sessions: Sessions) -> None:
    for _ in range(10):
        job_id = queued(sessions)
        together = threading.Barrier(2)

        def cancel(job_id: str = job_id, together: threading.Barrier = together) -> None:
            together.wait()
            with transaction(sessions) as session:
                jobs.cancel(session, jobs.locked(session, job_id), "local")

        def take(together: threading.Barrier = together) -> Lease | None:
            together.wait()
            return leases.claim(sessions, ("cpu",), WORKER, LEASE_S)

        with ThreadPoolExecutor(2) as pool:
            cancelling, taking = pool.submit(cancel), pool.submit(take)
            cancelling.result()
            lease = taking.result()
        job = row(sessions, job_id)
        assert (job.state, job.token) == (("cancelling", 1) if lease else ("cancelled", 0))
        if lease:
            settled(sessions, lease, "interrupted")


LATE: dict[str, Callable[[Sessions, Lease], Any]] = {
    "renews its lease": lambda sessions, lease: leases.renew(sessions, lease, LEASE_S),
    "names its runner": lambda sessions, lease: leases.note_runner(sessions, lease, 1, 1.0),
    "tells of values": lambda sessions, lease: write(sessions, lease),
    "says it succeeded": lambda sessions, lease: settled(sessions, lease, "succeeded"),
    "says it failed": lambda sessions, lease: settled(sessions, lease, "failed", "data_error", "late"),
    "hands the job back": lambda sessions, lease: settled(sessions, lease, "interrupted"),
}


def write(sessions: Sessions, lease: Lease) -> None:
    with transaction(sessions) as session:
        job = leases.held(session, lease)
        job.progress = {"step": 1}
        leases.tell(session, job, "message", "late")
        metrics.append(session, job.id, lease.attempt, [Metrics.of(1, 0, {"loss": 1.0})])


@pytest.mark.parametrize("late", LATE.values(), ids=LATE.keys())
@pytest.mark.parametrize("meanwhile", ["taken back", "claimed by another", "ended by another"])
def test_a_worker_that_comes_back_late_changes_nothing(
    sessions: Sessions, late: Callable[[Sessions, Lease], Any], meanwhile: str
) -> None:
    job_id = queued(sessions)
    lease = started(sessions, "slow")
    expire(sessions, job_id)
    assert free_lost_jobs(sessions, SilentBell()) == 1
    if meanwhile != "taken back":
        free_now(sessions, job_id)
        other = started(sessions, "quick")
        if meanwhile == "ended by another":
            settled(sessions, other, "succeeded")
    before = everything(sessions, job_id)
    with pytest.raises(FencedError):
        late(sessions, lease)
    assert everything(sessions, job_id) == before


def test_a_lease_is_believed_until_it_runs_out_and_renewing_keeps_it(sessions: Sessions) -> None:
    job_id = queued(sessions)
    lease = started(sessions)
    assert free_lost_jobs(sessions, SilentBell()) == 0
    expire(sessions, job_id)
    assert leases.renew(sessions, lease, LEASE_S) is False
    assert free_lost_jobs(sessions, SilentBell()) == 0
    assert row(sessions, job_id).state == "running"


def test_a_lost_job_is_tried_again_after_pauses_that_grow_and_given_up_in_the_end(sessions: Sessions) -> None:
    job_id = queued(sessions, max_attempts=3)
    for crash in (1, 2):
        lease = claimed(sessions)
        assert lease.attempt == crash
        expire(sessions, job_id)
        before = utc_now()
        assert free_lost_jobs(sessions, SilentBell()) == 1
        job = row(sessions, job_id)
        assert (job.state, job.crashes, job.lease_owner, job.lease_expires_at) == (
            "queued",
            crash,
            None,
            None,
        )
        assert job.not_before is not None
        pause = (job.not_before - before).total_seconds()
        assert pause == pytest.approx(leases.PAUSE_AFTER_CRASH_S * 2 ** (crash - 1), abs=1)
        assert leases.claim(sessions, ("cpu",), WORKER, LEASE_S) is None
        free_now(sessions, job_id)
    claimed(sessions)
    expire(sessions, job_id)
    free_lost_jobs(sessions, SilentBell())
    job = row(sessions, job_id)
    assert (job.state, job.reason, job.crashes) == ("failed", "worker_lost", 3)
    assert "given up after 3 attempts" in (job.error or "")
    assert job.finished_at is not None


def test_a_job_that_was_given_up_can_be_retried_with_all_its_attempts(sessions: Sessions) -> None:
    job_id = queued(sessions, max_attempts=1)
    claimed(sessions)
    expire(sessions, job_id)
    free_lost_jobs(sessions, SilentBell())
    with transaction(sessions) as session:
        jobs.retry(session, jobs.locked(session, job_id), "local")
    assert row(sessions, job_id).crashes == 0
    assert claimed(sessions) == Lease(job_id, "train", token=3, attempt=2)


def test_interruptions_that_saved_their_state_cost_nothing(sessions: Sessions) -> None:
    job_id = queued(sessions, max_attempts=1)
    for attempt in range(1, 5):
        lease = started(sessions)
        assert lease.attempt == attempt
        settled(sessions, lease, "interrupted", text="the worker ends")
    job = row(sessions, job_id)
    assert (job.state, job.crashes) == ("queued", 0)


@pytest.mark.parametrize("outcome", ["interrupted", "cancelled", "lost"])
def test_a_job_that_shall_be_cancelled_is_not_queued_again(sessions: Sessions, outcome: str) -> None:
    job_id = queued(sessions)
    lease = started(sessions)
    with transaction(sessions) as session:
        jobs.cancel(session, jobs.locked(session, job_id), "ann")
    assert leases.renew(sessions, lease, LEASE_S) is True
    settled(sessions, lease, outcome, text="stopped")
    job = row(sessions, job_id)
    assert (job.state, job.reason, job.lease_owner) == ("cancelled", "user_cancelled", None)


def test_work_that_was_done_before_the_wish_to_cancel_arrived_counts(sessions: Sessions) -> None:
    job_id = queued(sessions)
    lease = started(sessions)
    with transaction(sessions) as session:
        jobs.cancel(session, jobs.locked(session, job_id), "ann")
    settled(sessions, lease, "succeeded")
    job = row(sessions, job_id)
    assert (job.state, job.reason, job.error) == ("succeeded", None, None)


def test_an_attempt_keeps_who_worked_on_what_and_how_it_ended(sessions: Sessions) -> None:
    job_id = queued(sessions)
    lease = started(sessions, "worker-7")
    leases.note_runner(sessions, lease, 4711, 12.5)
    with transaction(sessions) as session:
        leases.settle(
            session, leases.held(session, lease), Ending("failed", "out_of_memory", "too large", 70)
        )
    with sessions() as session:
        attempt = session.get_one(Attempt, (job_id, 1))
    assert (attempt.worker, attempt.host, attempt.pid, attempt.pid_started) == (
        "worker-7",
        "host",
        4711,
        12.5,
    )
    assert (attempt.outcome, attempt.exit_code, attempt.detail, attempt.token) == (
        "failed",
        70,
        "too large",
        1,
    )
    assert attempt.finished_at is not None
    job = row(sessions, job_id)
    assert (job.state, job.reason, job.error) == ("failed", "out_of_memory", "too large")


class Life(RuleBasedStateMachine):
    """Jobs as workers, people and the reconciler treat them, in any order, beside what each should be."""

    sessions: Sessions
    held = Bundle("held")
    stale = Bundle("stale")

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, dict[str, Any]] = {}
        with transaction(self.sessions) as session:
            session.execute(delete(Job))

    @rule(priority=st.integers(-1, 1), max_attempts=st.integers(1, 2))
    @precondition(lambda self: len(self.jobs) < 4)
    def submit(self, priority: int, max_attempts: int) -> None:
        job_id = queued(self.sessions, priority=priority, max_attempts=max_attempts)
        self.jobs[job_id] = {
            "state": "queued", "reason": None, "attempt": 0, "token": 0, "crashes": 0,
            "priority": priority, "max_attempts": max_attempts,
        }  # fmt: skip

    @rule(target=held)
    def claim(self) -> Any:
        lease = leases.claim(self.sessions, ("cpu",), WORKER, LEASE_S)
        waiting = [
            (-job["priority"], job_id) for job_id, job in self.jobs.items() if job["state"] == "queued"
        ]
        if not waiting:
            assert lease is None
            return None
        job_id = min(waiting)[1]
        job = self.jobs[job_id]
        job.update(state="starting", attempt=job["attempt"] + 1, token=job["token"] + 1, reason=None)
        assert lease == Lease(job_id, "train", job["token"], job["attempt"])
        return lease

    @rule(lease=held)
    def begin(self, lease: Lease | None) -> None:
        if lease is None or self.jobs[lease.job_id]["state"] != "starting":
            return
        with transaction(self.sessions) as session:
            jobs.move(session, leases.held(session, lease), "running", actor=WORKER.name)
        self.jobs[lease.job_id]["state"] = "running"

    @rule(lease=held)
    def renew(self, lease: Lease | None) -> None:
        if lease is not None:
            wish = leases.renew(self.sessions, lease, LEASE_S)
            assert wish == (self.jobs[lease.job_id]["state"] == "cancelling")

    @rule(lease=consumes(held), outcome=st.sampled_from(("succeeded", "failed", "interrupted")), target=stale)
    def end(self, lease: Lease | None, outcome: str) -> Any:
        if lease is None:
            return None
        settled(self.sessions, lease, outcome, "data_error" if outcome == "failed" else None)
        self._ended(lease, outcome)
        return lease

    @rule(lease=consumes(held), target=stale)
    def lose(self, lease: Lease | None) -> Any:
        if lease is None:
            return None
        expire(self.sessions, lease.job_id)
        assert free_lost_jobs(self.sessions, SilentBell()) == 1
        self._ended(lease, "lost")
        free_now(self.sessions, lease.job_id)
        return lease

    def _ended(self, lease: Lease, outcome: str) -> None:
        job = self.jobs[lease.job_id]
        job["token"] += 1
        if outcome in ("succeeded", "failed"):
            job.update(state=outcome, reason="data_error" if outcome == "failed" else None)
        elif job["state"] == "cancelling":
            job["state"] = "cancelled"
        else:
            job["crashes"] += outcome == "lost"
            given_up = outcome == "lost" and job["crashes"] >= job["max_attempts"]
            job.update(state="failed" if given_up else "queued", reason="worker_lost" if given_up else None)

    @rule(lease=stale)
    def come_back_late(self, lease: Lease | None) -> None:
        if lease is not None:
            with pytest.raises(FencedError):
                write(self.sessions, lease)

    @rule(data=st.data())
    @precondition(lambda self: self.jobs)
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.jobs)))
        with transaction(self.sessions) as session:
            jobs.cancel(session, jobs.locked(session, job_id), "ann")
        job = self.jobs[job_id]
        if job["state"] in ("starting", "running"):
            job.update(state="cancelling", reason="user_cancelled")
        elif job["state"] == "queued":
            job.update(state="cancelled", reason="user_cancelled")

    @rule(data=st.data())
    @precondition(lambda self: self.jobs)
    def retry(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.jobs)))
        job = self.jobs[job_id]
        try:
            with transaction(self.sessions) as session:
                jobs.retry(session, jobs.locked(session, job_id), "ann")
        except ConflictError:
            assert job["state"] not in ("failed", "cancelled")
        else:
            assert job["state"] in ("failed", "cancelled")
            job.update(state="queued", reason=None, crashes=0)

    @invariant()
    def every_job_is_what_it_should_be(self) -> None:
        with self.sessions() as session:
            for job_id, expected in self.jobs.items():
                job = session.get_one(Job, job_id)
                assert {name: getattr(job, name) for name in expected} == expected
                assert (job.finished_at is not None) == (job.state in TERMINAL)
                assert (job.lease_owner is None) == (job.state not in ("starting", "running", "cancelling"))
                events = jobs.events(session, job_id, 0, 1000)
                assert [event.seq for event in events] == list(range(1, job.last_event_seq + 1))
                moves = [event.data for event in events if event.type == "state"]
                assert moves[-1]["to"] == job.state
                assert [move["from"] for move in moves[1:]] == [move["to"] for move in moves[:-1]]


def test_a_job_lives_as_it_should_whatever_happens_to_it(sessions: Sessions) -> None:
    class Here(Life):
        pass

    Here.sessions = sessions
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Here,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
