"""Rings for workers: a Celery message on Redis that says that a queue has work.

The message carries a job's id and is only a hint. The database is the truth: a lost ring is rung again by the
reconciler, and a ring too many finds nothing to do.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy.orm import Session

from service.resources import Bell

log = logging.getLogger(__name__)

TASK = "fusebox.look"
PATIENCE_S = 1.0
"""A request that submits a job waits no longer than this for a Redis that does not answer."""
RING_LASTS_S = 60
"""Who comes later than this to a ring need not look: the reconciler has rung again meanwhile."""
RINGS = "rings"


class CeleryBell:
    def __init__(self, redis_url: str) -> None:
        self._celery = Celery("fusebox", broker=redis_url or None, set_as_current=False)
        self._celery.conf.update(
            task_ignore_result=True,
            broker_transport_options={
                "socket_timeout": PATIENCE_S,
                "socket_connect_timeout": PATIENCE_S,
                "socket_keepalive": True,
                "health_check_interval": 10,
                "retry_on_timeout": False,
            },
        )
        self._reachable = bool(redis_url)

    def ring(self, job_id: str, queue: str) -> None:
        if not self._reachable:
            return
        try:
            self._celery.send_task(TASK, args=[job_id], queue=queue, retry=False, expires=RING_LASTS_S)
        except OperationalError as error:
            log.warning("Redis does not answer (%s); job %s is rung for again later", error, job_id)


class SilentBell:
    """For servers without workers, and for tests that claim jobs themselves."""

    def ring(self, job_id: str, queue: str) -> None:
        pass


def ring_later(session: Session, job_id: str, queue: str) -> None:
    """To be rung when the session has committed: a worker that looks earlier finds nothing."""
    rings: list[tuple[str, str]] = session.info.setdefault(RINGS, [])
    rings.append((job_id, queue))


def ring_pending(session: Session, bell: Bell) -> None:
    """Rings what the committed session has asked for."""
    rings: Any = session.info.pop(RINGS, [])
    for job_id, queue in rings:
        bell.ring(job_id, queue)
