"""Jobs of dead workers are freed, forgotten ones are rung for, and neither happens to the others."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update

from service.db import Sessions, transaction
from service.settings import Settings
from service.tables import Job, utc_now
from service.worker.reconcile import RINGS_AT_ONCE, free_lost_jobs, ring_again
from tests.service.worker.places import a_job, a_lease, a_place, a_row


class CountingBell:
    def __init__(self) -> None:
        self.rung: list[str] = []

    def ring(self, job_id: str, queue: str) -> None:
        self.rung.append(job_id)


def change(sessions: Sessions, job_id: str, **values: object) -> None:
    with transaction(sessions) as session:
        session.execute(update(Job).where(Job.id == job_id).values(**values))


def test_a_job_whose_lease_has_run_out_is_queued_again(settings: Settings, sessions: Sessions) -> None:
    place, bell = a_place(settings, sessions), CountingBell()
    lost, held = a_job(sessions), a_job(sessions)
    stale = a_lease(place)
    a_lease(place)
    assert stale.job_id == lost
    change(sessions, lost, lease_expires_at=utc_now() - timedelta(seconds=1))
    assert free_lost_jobs(sessions, bell) == 1
    assert free_lost_jobs(sessions, bell) == 0
    job = a_row(sessions, lost)
    assert (job.state, job.crashes, job.lease_owner) == ("queued", 1, None)
    assert job.token > stale.token
    assert a_row(sessions, held).state == "starting"


def test_a_lost_job_that_was_to_be_cancelled_is_cancelled(settings: Settings, sessions: Sessions) -> None:
    place = a_place(settings, sessions)
    job_id = a_job(sessions)
    a_lease(place)
    change(sessions, job_id, state="cancelling", lease_expires_at=utc_now() - timedelta(seconds=1))
    free_lost_jobs(sessions, CountingBell())
    assert a_row(sessions, job_id).state == "cancelled"


def test_only_jobs_that_nobody_came_for_are_rung_for_and_only_now_and_then(
    settings: Settings, sessions: Sessions
) -> None:
    bell = CountingBell()
    forgotten, fresh, paused = a_job(sessions), a_job(sessions), a_job(sessions)
    long_ago = utc_now() - timedelta(minutes=5)
    change(sessions, forgotten, rung_at=long_ago)
    change(sessions, paused, rung_at=long_ago, not_before=utc_now() + timedelta(minutes=5))
    assert ring_again(sessions, bell, after_s=60) == 1
    assert ring_again(sessions, bell, after_s=60) == 0
    assert bell.rung == [forgotten]
    assert a_row(sessions, fresh).rung_at is not None


def test_the_most_urgent_are_rung_for_first_and_not_all_at_once(
    settings: Settings, sessions: Sessions
) -> None:
    bell = CountingBell()
    job_ids = [a_job(sessions) for _ in range(RINGS_AT_ONCE + 2)]
    urgent = a_job(sessions, priority=5)
    with transaction(sessions) as session:
        session.execute(update(Job).values(rung_at=None))
    ring_again(sessions, bell, after_s=60)
    assert bell.rung == [urgent, *job_ids[: RINGS_AT_ONCE - 1]]
    ring_again(sessions, bell, after_s=60)
    assert sorted(bell.rung) == sorted([urgent, *job_ids])
