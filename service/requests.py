"""What somebody wants to run, checked against the specs and against what there is: before it becomes a job, or instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.data import datasets
from service.errors import ConflictError, Fault, InvalidError
from service.schemas.jobs import CheckedJob, NewJob
from service.states import TERMINAL
from service.tables import Alias, Checkpoint, Job
from service.web import problems
from training.spec import SPECS, AnySpec, EmbedSpec, ExportSpec, Kind, ProbeSpec, TrainSpec, spec_hash
from training.spec.presets import PRESETS, merged

DEPENDENCY_FAILED = "dependency_failed"


@dataclass(frozen=True)
class Request:
    """A spec with its defaults filled in, and its place among the other jobs."""

    kind: Kind
    spec: AnySpec
    trained: TrainSpec
    """The training's spec: its own, or that of the run it builds on."""
    source: Job | None
    """The training that a probe, an export or an embedding builds on."""
    after: Job | None = None
    """The job that must have succeeded before this one starts; locked, so that it does not end before this one is stored."""

    @property
    def dataset(self) -> str:
        """What it is trained on, probed on, or embeds."""
        own = self.spec.dataset if isinstance(self.spec, EmbedSpec) else None
        return (own or self.trained.dataset).name

    @property
    def queue(self) -> str:
        return "gpu" if isinstance(self.spec, TrainSpec) and self.spec.device != "cpu" else "cpu"

    @property
    def total_steps(self) -> int | None:
        return self.spec.total_steps if isinstance(self.spec, TrainSpec) else None


def checked(session: Session, kind: Kind, spec: Mapping[str, Any], after: str | None = None) -> Request:
    """Raises InvalidError with pointers below /spec, or ConflictError when the run cannot be built on (yet).

    `after`: the id of a job to wait for. When that is the run to build on, its checkpoints may be yet to come.
    """
    try:
        valid = SPECS[kind].model_validate(spec, context={"datasets": datasets.lookup(session)})
    except ValidationError as error:
        raise problems.invalid_spec(error, spec) from None
    awaited = None if after is None else _awaited(session, after)
    if isinstance(valid, TrainSpec):
        return Request(kind, valid, valid, None, awaited)
    source = _training(session, valid.run)
    trained = _spec_of(source)
    if isinstance(valid, ProbeSpec):
        _assert_tasks(trained, valid.tasks or ())
    if isinstance(valid, ExportSpec):
        _assert_no_alias(session, valid.name)
    if isinstance(valid, EmbedSpec):
        _assert_fits(trained, valid)
    if source is awaited and source.state != "succeeded" and isinstance(valid.checkpoint, str):
        _assert_will_have(trained, valid.checkpoint)
    else:
        _assert_checkpoint(session, valid.run, valid.checkpoint)
    return Request(kind, valid, trained, source, awaited)


def checked_job(session: Session, asked: NewJob) -> Request:
    """The same for a request that may name a preset, which its spec is merged into. Also InvalidError for the preset."""
    if asked.preset is None:
        return checked(session, asked.kind, asked.spec, asked.after)
    preset = PRESETS.get(asked.preset)
    if preset is None or asked.kind != "train":
        close = get_close_matches(asked.preset, PRESETS, n=3) if preset is None else []
        raise InvalidError.at(
            "/preset",
            "unknown_preset",
            "presets are trainings; leave `preset` out, or ask for the kind 'train'"
            if preset is not None
            else f"there is no preset {asked.preset[:80]!r}; "
            + (f"perhaps {', '.join(close)}" if close else "list them with GET /v1/presets"),
        )
    return checked(session, "train", merged(preset.spec, asked.spec), asked.after)


def dry_run(session: Session, asked: NewJob) -> CheckedJob:
    """What `jobs.submit` would make, or the same error."""
    request = checked_job(session, asked)
    return CheckedJob(
        kind=request.kind,
        spec=request.spec.model_dump(mode="json"),
        queue=request.queue,
        total_steps=request.total_steps,
        after_id=request.after.id if request.after else None,
        spec_sha256=spec_hash(request.spec),
        duplicates=duplicates(session, request),
        warnings=warnings(request),
    )


def cloned_spec(job: Job, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The job's spec with `overrides` merged in; another method or dataset starts from its own defaults."""
    return {**job.spec, **{name: merged(job.spec.get(name), value) for name, value in overrides.items()}}


def duplicates(session: Session, request: Request) -> list[str]:
    """Jobs that do, or did, exactly this: newest first, at most ten."""
    same = select(Job.id).where(
        Job.spec_sha256 == spec_hash(request.spec),
        Job.kind == request.kind,
        Job.state.not_in(("failed", "cancelled")),
    )
    return list(session.scalars(same.order_by(Job.id.desc()).limit(10)))


def warnings(request: Request) -> list[str]:
    """What is allowed, and may still not be what somebody expects."""
    source, checkpoint = request.source, getattr(request.spec, "checkpoint", None)
    found = []
    if (
        source is not None
        and source is not request.after
        and source.state not in TERMINAL
        and isinstance(checkpoint, str)
    ):
        found.append(
            f"{source.id} is {source.state}: '{checkpoint}' will be whatever it is when this job starts; ask for this "
            "job `after` that one, or name a step"
        )
    if (
        checkpoint == "best"
        and request.trained.protocol == "reference"
        and getattr(request.spec, "protocol", "") == "strict"
    ):
        found.append(
            "the training's protocol 'reference' chose its best checkpoint by test data, so that this probe's score is "
            "not strict; take 'last'"
        )
    return found


def _training(session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id)
    if job is None or job.kind != "train":
        what = "there is no such job" if job is None else f"it is a job of the kind '{job.kind}'"
        raise InvalidError.at(
            "/spec/run",
            "no_such_training",
            f"no training {job_id!r}: {what}; list trainings with GET /v1/jobs?kind=train",
        )
    return job


def _awaited(session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None:
        raise InvalidError.at(
            "/after", "job_not_found", f"there is no job {job_id[:60]!r}; list them with GET /v1/jobs"
        )
    if job.state in ("failed", "cancelled"):
        raise ConflictError(
            DEPENDENCY_FAILED, f"{job.id} {ended(job)}, so that nothing can wait for it; retry it first"
        )
    return job


def ended(job: Job) -> str:
    """As a part of a sentence, of a job that did not succeed."""
    return "failed" if job.state == "failed" else "was cancelled"


def _spec_of(training: Job) -> TrainSpec:
    try:
        return TrainSpec.model_validate(training.spec)
    except ValidationError:
        raise ConflictError(
            "outdated_training",
            f"{training.id} was trained by another version, which this one cannot build on; train it again",
        ) from None


def _assert_tasks(trained: TrainSpec, tasks: Sequence[str]) -> None:
    have = [task.name for task in trained.dataset.tasks]
    if not have:
        raise InvalidError.at(
            "/spec/run",
            "nothing_to_probe",
            f"{trained.dataset.name} has no labels, so that there is nothing to probe; export the training and use its "
            "embeddings, or register the data with labels and train on that",
        )
    unknown = tuple(
        Fault(f"/spec/tasks/{index}", "unknown_task", f"{trained.dataset.name} has no task {task!r}; it has {', '.join(have)}")
        for index, task in enumerate(tasks) if task not in have
    )  # fmt: skip
    if unknown:
        raise InvalidError("unknown_task", unknown[0].detail, faults=unknown)


def _assert_fits(trained: TrainSpec, spec: EmbedSpec) -> None:
    faults = tuple(Fault(f"/spec{at}", code, detail) for at, code, detail in spec.misfits(trained))
    if faults:
        raise InvalidError(faults[0].code, faults[0].detail, faults=faults)


def _assert_no_alias(session: Session, name: str) -> None:
    if session.get(Alias, name) is not None:
        raise InvalidError.at(
            "/spec/name",
            "name_is_alias",
            f"{name!r} is an alias, and a model may not be called like one; choose another name",
        )


def _assert_will_have(trained: TrainSpec, which: str) -> None:
    if which == "best" and not trained.probe.every_epochs:
        raise InvalidError.at(
            "/spec/checkpoint",
            "no_best_checkpoint",
            "the training will mark no checkpoint as its best, because its probe.every_epochs is 0; take 'last'",
        )


def _assert_checkpoint(session: Session, job_id: str, which: str | int) -> None:
    kept = select(Checkpoint.step).where(Checkpoint.job_id == job_id, Checkpoint.exists)
    if which == "best":
        kept = kept.where(Checkpoint.is_best)
    steps = list(session.scalars(kept.order_by(Checkpoint.step)))
    if isinstance(which, int) and which not in steps:
        raise ConflictError(
            "no_checkpoint", f"{job_id} keeps no checkpoint of step {which}; it has {steps or 'none'}"
        )
    if not steps:
        remedy = (
            "a training marks its best one when it has probe.every_epochs; take 'last'"
            if which == "best"
            else "wait until the training has written its first, or ask for this job `after` the training"
        )
        raise ConflictError("no_checkpoint", f"{job_id} has no checkpoint '{which}' yet; {remedy}")
