"""Puts right what was forgotten: frees the jobs of dead workers, and rings again for jobs that nobody has come for.

Any process may run one, and any number may run at once: each job is locked while it is looked at, and a ring too many
finds nothing to do.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy import or_, select

from service import idempotency, leases
from service.bell import ring_later, ring_pending
from service.db import Sessions, transaction
from service.resources import Bell
from service.settings import Settings
from service.states import ACTIVE
from service.tables import Job, utc_now
from service.worker.ticker import Ticker

log = logging.getLogger(__name__)

AT_ONCE = 100
RINGS_AT_ONCE = 8
"""A ring only says that there is work, and a worker that comes works off all of it."""


class Reconciler(Ticker):
    def __init__(self, sessions: Sessions, bell: Bell, settings: Settings) -> None:
        super().__init__("reconciler", settings.reconcile_s)
        self._sessions = sessions
        self._bell = bell
        self._settings = settings

    def tick(self) -> None:
        free_lost_jobs(self._sessions, self._bell)
        ring_again(self._sessions, self._bell, self._settings.ring_again_s)
        with transaction(self._sessions) as session:
            idempotency.forget_old(session)


def free_lost_jobs(sessions: Sessions, bell: Bell) -> int:
    """Takes jobs back whose lease has run out. Returns how many."""
    with transaction(sessions) as session:
        lost = select(Job).where(Job.state.in_(ACTIVE), Job.lease_expires_at < utc_now())
        jobs = session.scalars(lost.limit(AT_ONCE).with_for_update(skip_locked=True)).all()
        for job in jobs:
            log.warning("%s: no sign of life from %s; taken back", job.id, job.lease_owner)
            leases.take_back(session, job)
    ring_pending(session, bell)
    return len(jobs)


def ring_again(sessions: Sessions, bell: Bell, after_s: float) -> int:
    """Rings for the most urgent of the jobs that were last rung for `after_s` ago, are still queued and may start."""
    now = utc_now()
    with transaction(sessions) as session:
        forgotten = (
            select(Job)
            .where(*leases.may_start(now))
            .where(or_(Job.rung_at.is_(None), Job.rung_at < now - timedelta(seconds=after_s)))
            .order_by(Job.priority.desc(), Job.id)
            .limit(RINGS_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        jobs = session.scalars(forgotten).all()
        for job in jobs:
            job.rung_at = now
            ring_later(session, job.id, job.queue)
    ring_pending(session, bell)
    return len(jobs)
