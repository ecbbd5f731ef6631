"""Supervises one attempt at a job: starts its runner, turns what it says into rows, and ends the attempt.

The supervisor beats for the runner: it renews the lease, passes a wish to cancel on (SIGTERM, with which the runner
saves its state, then SIGKILL), and kills a runner that says nothing any more. When the lease is lost, or could not be
renewed for most of its time, the runner is killed and nothing more is written: somebody else may have the job by then.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from pydantic import ValidationError
from sqlalchemy import select

from models_store.store import ModelStore, StoreError
from service import leases
from service.bell import ring_pending
from service.db import UNREACHABLE, Sessions, reading, transaction
from service.errors import FuseboxError
from service.leases import Ending, FencedError, Lease, Worker
from service.resources import Bell
from service.settings import Settings
from service.tables import Attempt, Job
from service.worker.ingest import Ingest, ProtocolError
from service.worker.runner import Runner, kill_leftover
from training.run_dir import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, RunDir
from training.spec import SPECS, Kind

log = logging.getLogger(__name__)

TICK_S = 0.2
READ_S = 0.5
"""Between readings of a run's events: many at once cost little more than one."""
LOOK_S = 1.0
"""Between looks whether somebody wants the job cancelled."""
SURE_OF_LEASE = 2 / 3
"""Part of the lease's time after which a worker that could not renew it stops, well before another may start."""

Stop = Literal["cancel", "drain", "stall"]


@dataclass(frozen=True)
class Workplace:
    """What a worker has to work with, for as long as it lives."""

    settings: Settings
    sessions: Sessions
    store: ModelStore
    bell: Bell
    worker: Worker
    draining: threading.Event
    """Set when the worker has been asked to end: runners save their state, and jobs go back into the queue."""


class Supervisor:
    """One attempt, from the claim to its ending."""

    def __init__(self, place: Workplace, lease: Lease) -> None:
        self._place = place
        self._settings = place.settings
        self._lease = lease
        self._kind = cast(Kind, lease.kind)
        self._run_dir = RunDir(place.settings.runs_dir.resolve() / lease.job_id)
        self._ingest = Ingest(self._run_dir, place.store)
        self._renewed_at = self._heard_at = self._looked_at = self._read_at = time.monotonic()
        self._offset = 0
        self._stop: Stop | None = None
        self._stop_at = 0.0

    def run(self) -> None:
        """Returns when the attempt has ended, whichever way. Raises nothing that the next job should suffer from."""
        try:
            ending = self._prepare() or self._work()
            self._insist(lambda: self._settle(ending))
        except FencedError as error:
            log.warning("%s; its work here is dropped", error)
        except Exception:
            log.exception("the attempt at %s broke", self._lease.job_id)
            self._give_up()

    def _give_up(self) -> None:
        text = "the worker broke while it attended to the run; its log says why"
        try:
            self._insist(lambda: self._settle(Ending("lost", "internal", text)))
        except FencedError:
            log.warning("%s has passed to somebody else", self._lease.job_id)

    def _prepare(self) -> Ending | None:
        """The spec in its place, no earlier runner left, and rows for all that earlier attempts said.

        An attempt may have done everything and only failed to say so: then there is nothing left to do.
        """
        self._insist(self._clear_away)
        try:
            with reading(self._place.sessions) as session:
                content = session.get_one(Job, self._lease.job_id).spec
            self._run_dir.write_spec(SPECS[self._kind].model_validate(content))
            self._insist(self._read_all)
        except ValidationError as error:
            return Ending(
                "failed", "invalid_spec", f"the spec is of another version: {error.errors()[0]['msg']}"
            )
        except (ProtocolError, StoreError) as error:
            return Ending("failed", "protocol_error", str(error))
        except FuseboxError as error:
            return Ending("failed", error.code, error.detail)
        except OSError as error:
            return _disk(error)
        done, self._ingest.done = self._ingest.last_word(), None
        return Ending("succeeded", exit_code=EXIT_OK) if done and done.outcome == "succeeded" else None

    def _clear_away(self) -> None:
        with reading(self._place.sessions) as session:
            earlier = session.scalars(
                select(Attempt).where(
                    Attempt.job_id == self._lease.job_id,
                    Attempt.number < self._lease.attempt,
                    Attempt.host == self._place.worker.host,
                )
            ).all()
        for attempt in earlier:
            if attempt.pid is not None and attempt.pid_started is not None:
                kill_leftover(attempt.pid, attempt.pid_started)

    def _work(self) -> Ending:
        try:
            settings = self._settings
            runner = Runner(self._kind, self._run_dir, settings.datasets_dir, settings.runner_nice)
        except OSError as error:
            return _disk(error)
        try:
            self._insist(
                lambda: leases.note_runner(self._place.sessions, self._lease, runner.pid, runner.started)
            )
            while (code := runner.exit_code()) is None:
                self._attend(runner)
                time.sleep(TICK_S)
            self._insist(self._read_all)
            return self._ending(code)
        except (ProtocolError, StoreError) as error:
            return Ending("failed", "protocol_error", str(error))
        except FuseboxError as error:
            return Ending("failed", error.code, error.detail)
        except OSError as error:
            return _disk(error)
        finally:
            runner.kill()

    def _attend(self, runner: Runner) -> None:
        now = time.monotonic()
        if now - self._read_at >= READ_S and self._ingest.has_news(self._offset):
            self._heard_at = self._read_at = now
            self._try(self._read_all)
        if now - self._renewed_at >= self._settings.heartbeat_s:
            self._try(self._renew)
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            self._try(self._look)
        self._assert_sure_of_lease()
        if self._place.draining.is_set():
            self._ask_to_stop("drain")
        if now - self._heard_at > self._settings.stall_s:
            self._ask_to_stop("stall")
        self._enforce(runner, now)

    def _ask_to_stop(self, why: Stop) -> None:
        """A wish to cancel outranks the end of the worker: the job shall not be queued again."""
        if self._stop is None:
            self._stop, self._stop_at = why, 0.0
        elif why == "cancel":
            self._stop = why

    def _enforce(self, runner: Runner, now: float) -> None:
        if self._stop is None:
            return
        if not self._stop_at:
            self._stop_at = now
            runner.ask_to_stop()
        elif now - self._stop_at > self._settings.cancel_grace_s:
            runner.kill()

    def _renew(self) -> None:
        before = time.monotonic()
        if leases.renew(self._place.sessions, self._lease, self._settings.lease_s):
            self._ask_to_stop("cancel")
        self._renewed_at = before

    def _look(self) -> None:
        with reading(self._place.sessions) as session:
            state, token = session.execute(
                select(Job.state, Job.token).where(Job.id == self._lease.job_id)
            ).one_or_none() or (None, None)
        if token != self._lease.token:
            raise FencedError(f"the lease on {self._lease.job_id} has passed to somebody else")
        if state == "cancelling":
            self._ask_to_stop("cancel")

    def _assert_sure_of_lease(self) -> None:
        if time.monotonic() - self._renewed_at > self._settings.lease_s * SURE_OF_LEASE:
            raise FencedError(f"the lease on {self._lease.job_id} could not be renewed in time")

    def _read_all(self) -> None:
        """Everything that stands in the events by now, in transactions of bounded size. Each renews the lease too."""
        more = True
        while more:
            before = time.monotonic()
            with transaction(self._place.sessions) as session:
                job = leases.held(session, self._lease)
                if job.state == "cancelling":
                    self._ask_to_stop("cancel")
                more = self._ingest.read_some(session, job) > 0
                leases.prolong(job, self._settings.lease_s)
                offset = job.events_offset
            self._offset, self._renewed_at = offset, before

    def _settle(self, ending: Ending) -> None:
        with transaction(self._place.sessions) as session:
            leases.settle(session, leases.held(session, self._lease), ending)
        ring_pending(session, self._place.bell)

    def _ending(self, code: int) -> Ending:
        done = self._ingest.done
        if code == EXIT_OK and done and done.outcome == "succeeded":
            return Ending("succeeded", exit_code=code)
        if code == EXIT_FAILED and done and done.outcome == "failed":
            return Ending("failed", done.code or "internal", done.text, code)
        if code == EXIT_INTERRUPTED and done:
            return Ending("cancelled" if self._stop == "cancel" else "interrupted", None, done.text, code)
        if self._stop == "cancel":
            return Ending("cancelled", None, "killed: it did not stop in time", code)
        if self._stop == "drain":
            return Ending("interrupted", None, "the worker ended before the runner had saved its state", code)
        if self._stop == "stall":
            text = f"the runner said nothing for {self._settings.stall_s:g} s and was killed"
            return Ending("lost", "stalled", text, code)
        return Ending("lost", "runner_lost", _last_moments(code), code)

    def _try(self, step: Callable[[], None]) -> bool:
        """Whether it could be done. A database that does not answer is asked again at the next tick."""
        try:
            step()
        except UNREACHABLE as error:
            log.warning("the database does not answer (%s); trying again", error)
            return False
        return True

    def _insist(self, step: Callable[[], None]) -> None:
        """Tries until it is done. Raises FencedError when the lease runs out meanwhile."""
        while not self._try(step):
            self._assert_sure_of_lease()
            time.sleep(TICK_S)


def _last_moments(code: int) -> str:
    if code == -9:
        return "the runner was killed (signal 9); perhaps the machine ran out of memory"
    how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
    return f"the runner {how} without a last word; the end of its log may say why"


def _disk(error: OSError) -> Ending:
    return Ending("lost", "disk_error", f"the run's files cannot be written: {error.strerror}")
