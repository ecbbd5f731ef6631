"""What a worker does when the bell rings: claim what is queued, one job after the other, until there is nothing left."""

from __future__ import annotations

import logging
import threading

from service import leases
from service.db import UNREACHABLE
from service.worker.supervise import Supervisor, Workplace

log = logging.getLogger(__name__)


class Hand:
    """Works on one job at a time, whoever calls."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._busy = threading.Lock()

    @property
    def is_at_work(self) -> bool:
        return self._busy.locked()

    def work_off(self) -> None:
        """Everything there is to do. Waits while another call is at it: a busy worker shall take no other ring."""
        with self._busy:
            self._work_off()

    def work_off_if_idle(self) -> None:
        if self._busy.acquire(blocking=False):
            try:
                self._work_off()
            finally:
                self._busy.release()

    def _work_off(self) -> None:
        place = self._place
        while not place.draining.is_set():
            try:
                lease = leases.claim(
                    place.sessions, place.settings.queues, place.worker, place.settings.lease_s
                )
            except UNREACHABLE as error:
                log.warning("the database does not answer (%s); looking again later", error)
                return
            if lease is None:
                return
            log.info("working on %s %s, attempt %d", lease.kind, lease.job_id, lease.attempt)
            Supervisor(place, lease).run()
