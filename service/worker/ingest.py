"""From a run's events to rows: read on from where the rows end, under the lease of whoever reads.

How far the file has been read moves in the same transaction as the rows it became, so that after any crash each
event has become rows exactly once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from pydantic import ValidationError
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models_store.store import ModelStore
from service import jobs, leases, metrics, models
from service.tables import Checkpoint, Job, Model, ProbeResult
from training.events import (
    CheckpointSaved,
    Done,
    EmbeddingsKept,
    Event,
    Exported,
    HeadKept,
    Message,
    Metrics,
    Progress,
    Result,
    Started,
    parse,
)
from training.run_dir import RunDir

READ_BYTES = 2**20
"""At most this much becomes rows in one transaction. No event is nearly as long."""


class ProtocolError(Exception):
    """A runner wrote something that is not an event."""


class Ingest:
    """One attempt's reading. `done` is the run's last word, once it has been read."""

    def __init__(self, run_dir: RunDir, store: ModelStore) -> None:
        self._run_dir = run_dir
        self._store = store
        self.done: Done | None = None

    def has_news(self, offset: int) -> bool:
        return self._run_dir.events.exists() and self._run_dir.events.stat().st_size > offset

    def last_word(self) -> Done | None:
        """The run's last event when it is a Done, whether or not it has become rows."""
        try:
            with self._run_dir.events.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - READ_BYTES))
                lines = file.read().splitlines(keepends=True)
        except FileNotFoundError:
            return None
        last = _event(lines[-1]) if lines and lines[-1].endswith(b"\n") else None
        return last if isinstance(last, Done) else None

    def read_some(self, session: Session, job: Job) -> int:
        """Turns the next complete lines into rows and returns their number. The job must be locked.

        Raises ProtocolError for a line that is not an event, StoreError when a model cannot be stored.
        """
        content = self._complete_lines(job.events_offset)
        events = [_event(line) for line in content.splitlines()]
        self._apply(session, job, events)
        job.events_offset += len(content)
        session.flush()
        return len(events)

    def _complete_lines(self, offset: int) -> bytes:
        if not self._run_dir.events.exists():
            return b""
        with self._run_dir.events.open("rb") as file:
            file.seek(offset)
            content = file.read(READ_BYTES)
        whole = content[: content.rfind(b"\n") + 1]
        if not whole and len(content) == READ_BYTES:
            raise ProtocolError(f"the runner wrote a line of more than {READ_BYTES} bytes")
        return whole

    def _apply(self, session: Session, job: Job, events: Sequence[Event]) -> None:
        """Values of neighbouring steps are inserted together; whatever comes between them keeps its place."""
        waiting: list[Metrics] = []
        for event in events:
            if isinstance(event, Metrics):
                waiting.append(event)
                continue
            if waiting:
                metrics.append(session, job.id, job.attempt, waiting)
                waiting = []
            self._apply_one(session, job, event)
        if waiting:
            metrics.append(session, job.id, job.attempt, waiting)

    def _apply_one(self, session: Session, job: Job, event: Event) -> None:
        match event:
            case Started():
                self.done = None
                _begin(session, job, event)
            case Progress():
                job.progress = _progress(event)
            case CheckpointSaved():
                _keep_checkpoint(session, job, event)
            case Result():
                _keep_result(session, job, event)
            case HeadKept():
                text = f"{event.task}: the probe is kept and can be attached to a model"
                leases.tell(session, job, "head", text, task=event.task, sha256=event.sha256)
            case Exported():
                self._publish(session, job)
            case EmbeddingsKept():
                text = f"{event.count} embeddings of {event.dim} numbers are kept and can be searched in"
                leases.tell(session, job, "embedded", text, sha256=event.sha256, count=event.count)
            case Message():
                leases.tell(session, job, "message", event.text, event.level)
            case Done():
                self.done = event

    def _publish(self, session: Session, job: Job) -> None:
        """Once a job: an attempt that was lost after its model was published has a successor that exports again."""
        if session.scalar(select(Model).where(Model.job_id == job.id)):
            return
        model = models.publish(
            session, self._store, self._run_dir.export, job_id=job.id, train_job_id=job.source_job_id
        )
        name = f"{model.name}@{model.version}"
        leases.tell(session, job, "exported", f"published as {name}", model=name, digest=model.digest)


def _event(line: bytes) -> Event:
    try:
        return parse(line)
    except ValidationError:
        raise ProtocolError(f"the runner wrote a line that is no event: {line[:80]!r}") from None


def _begin(session: Session, job: Job, event: Started) -> None:
    """Whatever an earlier attempt said about steps after the one that this attempt goes on from is void."""
    after = event.resumed_from_step
    metrics.truncate(session, job.id, after)
    session.execute(
        update(Checkpoint).where(Checkpoint.job_id == job.id, Checkpoint.step > after).values(exists=False, is_best=False)
    )  # fmt: skip
    if job.state == "starting":
        session.flush()
        jobs.move(session, job, "running", actor=job.lease_owner or "system")
    text = f"works on {event.device}" + (f", going on after step {after}" if after else "")
    leases.tell(
        session, job, "started", text, device=event.device, resumed_from_step=after,
        total_steps=event.total_steps, code_version=event.code_version,
    )  # fmt: skip


def _progress(event: Progress) -> dict[str, object]:
    left = event.total - event.step
    return {
        "phase": event.phase,
        "step": event.step,
        "total": event.total,
        "epoch": event.epoch,
        "rate": event.rate,
        "eta_s": round(left / event.rate, 1) if event.rate else None,
    }


def _keep_checkpoint(session: Session, job: Job, event: CheckpointSaved) -> None:
    known = session.get(Checkpoint, (job.id, event.step))
    row = known or Checkpoint(job_id=job.id, step=event.step)
    same = known is not None and known.sha256 == event.sha256 and known.exists
    row.epoch, row.path, row.sha256 = event.epoch, event.path, event.sha256
    row.size_bytes, row.score, row.exists = event.size_bytes, event.score, True
    session.add(row)
    session.flush()
    mine = Checkpoint.job_id == job.id
    session.execute(
        update(Checkpoint).where(mine, Checkpoint.step.not_in(event.kept_steps)).values(exists=False)
    )
    if event.is_best:
        session.execute(update(Checkpoint).where(mine).values(is_best=Checkpoint.step == event.step))
    if not same:  # a resumed run tells of the one it goes on from again
        leases.tell(session, job, "checkpoint", f"checkpoint after step {event.step}", step=event.step)


def _keep_result(session: Session, job: Job, event: Result) -> None:
    """The run says what it measured; whose run it is, we know better."""
    row = session.scalar(
        select(ProbeResult).where(
            ProbeResult.job_id == job.id,
            ProbeResult.checkpoint_step == event.checkpoint_step,
            ProbeResult.task == event.task,
            ProbeResult.metric == event.metric,
            ProbeResult.split == event.split,
        )
    ) or ProbeResult(job_id=job.id)
    for name in (
        "checkpoint_step", "dataset", "task", "family", "metric", "split", "protocol", "seed", "value", "chance", "n"
    ):  # fmt: skip
        setattr(row, name, getattr(event, name))
    row.model_job_id, row.details = job.source_job_id or job.id, dict(event.details)
    session.add(row)
    text = f"{event.task}: {event.metric} {event.value:.4f} on {event.split} (n = {event.n})"
    leases.tell(session, job, "result", text, task=event.task, metric=event.metric, value=event.value)
