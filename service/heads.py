"""Probe heads of published models: which probe's, attached by whom and when.

The store holds the heads and the pointers by which they are served; the rows here are for lists and lineage. Both
change together, as those of models do: pointers move just before the session commits, and are the same again when the
work is repeated.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from models_store.heads import Head, HeadStore, opened, read_head
from models_store.store import ModelStore, StoreError
from service import models
from service.db import take_turns
from service.errors import ConflictError, Fault, InvalidError, NotFoundError, UnavailableError
from service.schemas.heads import HeadOut, NewHeads
from service.settings import Settings
from service.tables import Job, JobEvent, Model, ModelHead, utc_now
from training.run_dir import RunDir

Files = tuple[bytes, bytes]
"""A head's manifest and its weights."""


def attach(
    session: Session, store: ModelStore, settings: Settings, reference: str, asked: NewHeads, actor: str
) -> list[HeadOut]:
    """Lets the model have the probe's heads, in the place of those that it has for the same tasks.

    Raises NotFoundError without such a model, InvalidError without such a probe or task, ConflictError when the probe
    has not succeeded, kept no heads, or looked at another checkpoint, and UnavailableError when a head is damaged.
    """
    model = models.get(session, store, reference)
    take_turns(session, "model heads", model.digest)
    kept = _kept(session, _succeeded(session, asked.probe_job_id))
    run_dir = RunDir(settings.runs_dir / asked.probe_job_id)
    files = [_read(run_dir, task, kept[task]) for task in _chosen(asked, kept)]
    heads = [opened(*each) for each in files]
    for head in heads:
        _assert_same_checkpoint(head, model)
    rows = [_row(session, model, head, asked.probe_job_id, actor) for head in heads]
    session.flush()
    for each in files:
        HeadStore(store).attach(model.digest, *each)
    return [HeadOut.of(row) for row in rows]


def of_model(session: Session, store: ModelStore, reference: str) -> list[HeadOut]:
    """By task. Raises NotFoundError."""
    return models.told(session, [models.get(session, store, reference)])[0].heads


def detach(session: Session, store: ModelStore, reference: str, task: str) -> None:
    """Raises NotFoundError when the model has no head for the task."""
    model = models.get(session, store, reference)
    take_turns(session, "model heads", model.digest)
    row, pointers = session.get(ModelHead, (model.digest, task)), HeadStore(store).attached(model.digest)
    if row is None and task not in pointers:
        raise NotFoundError("head_not_found", no_head(f"{model.name}@{model.version}", task, pointers))
    if row is not None:
        session.delete(row)
        session.flush()
    HeadStore(store).detach(model.digest, task)


def no_head(model: str, task: str, there: Iterable[str]) -> str:
    """What to tell somebody who asked for a head that is not there."""
    listed = ", ".join(there)
    remedy = f"it has {listed}" if listed else "none has been attached to it yet"
    return f"{model} has no head {task[:100]!r}; {remedy}"


def _succeeded(session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise InvalidError.at(
            "/probe_job_id",
            "job_not_found",
            f"there is no job {job_id!r}; list probes with GET /v1/jobs?kind=probe",
        )
    if job.kind != "probe":
        raise InvalidError.at(
            "/probe_job_id", "not_a_probe", f"{job_id} is a job of the kind {job.kind}; name a probe"
        )
    if job.state != "succeeded":
        raise ConflictError(
            "probe_not_succeeded",
            f"probe {job_id} is {job.state}; its heads can be attached once it has succeeded",
        )
    return job


def _kept(session: Session, job: Job) -> dict[str, str]:
    """Task → sha256 of the head's manifest, as the run told it; the last attempt's counts."""
    told = select(JobEvent).where(JobEvent.job_id == job.id, JobEvent.type == "head").order_by(JobEvent.seq)
    kept = {str(event.data["task"]): str(event.data["sha256"]) for event in session.scalars(told)}
    if not kept:
        raise ConflictError(
            "no_heads_kept",
            f"probe {job.id} has kept no heads: it ran under a version that did not, or its log says why; run it again "
            f"with POST /v1/jobs/{job.id}/clone",
        )
    return kept


def _chosen(asked: NewHeads, kept: dict[str, str]) -> list[str]:
    """Each once."""
    faults = tuple(
        Fault(
            f"/tasks/{index}",
            "no_such_task",
            f"probe {asked.probe_job_id} has no head {task[:100]!r}; it has {', '.join(kept)}",
        )
        for index, task in enumerate(asked.tasks or ())
        if task not in kept
    )
    if faults:
        raise InvalidError("no_such_task", faults[0].detail, faults=faults)
    return list(dict.fromkeys(asked.tasks or kept))


def _read(run_dir: RunDir, task: str, sha256: str) -> Files:
    try:
        return read_head(run_dir.heads, task, sha256)
    except StoreError:
        raise UnavailableError(
            "head_damaged",
            f"the head {task!r} of probe {run_dir.name} is gone, or is not what was written; run the probe again with "
            f"POST /v1/jobs/{run_dir.name}/clone",
        ) from None


def _assert_same_checkpoint(head: Head, model: Model) -> None:
    of_head, of_model = head.manifest.source, model.manifest["source"]
    if of_head.checkpoint_sha256 != of_model["checkpoint_sha256"]:
        raise ConflictError(
            "other_checkpoint",
            f"the probe looked at checkpoint {of_head.checkpoint_sha256} (job {of_head.job_id} after step "
            f"{of_head.step}), and {model.name}@{model.version} is of {of_model['checkpoint_sha256']} (job "
            f"{of_model['job_id']} after step {of_model['step']}); probe the checkpoint that was exported",
        )


def _row(session: Session, model: Model, head: Head, probe_job_id: str, actor: str) -> ModelHead:
    task = head.manifest.task
    row = session.get(ModelHead, (model.digest, task)) or ModelHead(digest=model.digest, task=task)
    row.sha256, row.probe_job_id = head.sha256, probe_job_id
    row.manifest = head.manifest.model_dump(mode="json", exclude={"names"})
    row.attached_by, row.attached_at = actor, utc_now()
    session.add(row)
    return row
