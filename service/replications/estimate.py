"""How long jobs would take, judged by those that have finished here."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from service.replications.plan import Planned
from service.schemas.replications import Estimate
from service.states import ACTIVE
from service.tables import Job, JobEvent, utc_now
from training.spec import spec_hash

LOOKED_AT = 500
"""The newest finished jobs of a kind, at most."""
SAME = "like finished ones that differ by their seed only"
ALIKE = "like finished ones of the same method and dataset, by their steps"
SAME_DATA = "like finished ones on the same dataset"


class _Finished(NamedTuple):
    group_sha256: str
    """Of the training."""
    method: str | None
    dataset: str | None
    seconds: float
    steps: int


class _Guess(NamedTuple):
    seconds: float
    basis: str


def estimate(session: Session, planned: Sequence[Planned]) -> Estimate:
    """Of the jobs that are not there yet."""
    trainings = [each for each in planned if each.training is None]
    probes = [each for each in planned if each.probe is None]
    workers = _workers(session)
    trained, probed = _finished(session, "train", trainings), _finished(session, "probe", probes)
    guesses = [("trainings", _training(each, trained)) for each in trainings]
    guesses += [("probes", _probe(each, probed)) for each in probes]
    if not guesses:
        return Estimate(seconds=0.0, basis="everything is there already or on its way", workers=workers)
    unknown = Counter(kind for kind, guess in guesses if guess is None)
    if unknown:
        what = " and ".join(f"{count} of the {kind}" for kind, count in unknown.items())
        return Estimate(seconds=None, basis=f"nothing like {what} has run here", workers=workers)
    known = [(kind, guess) for kind, guess in guesses if guess is not None]
    bases = Counter(f"{kind} {guess.basis}" for kind, guess in known)
    seconds = sum(guess.seconds for _, guess in known) / workers
    by = "by one worker" if workers == 1 else f"by the {workers} workers that are at work now"
    basis = "; ".join([*(f"{count} {text}" for text, count in bases.items()), by])
    return Estimate(seconds=round(seconds, 1), basis=basis, workers=workers)


def _workers(session: Session) -> int:
    """Those whose lease on a job is believed; idle ones are known to nobody."""
    at_work = select(func.count(Job.lease_owner.distinct())).where(
        Job.state.in_(ACTIVE), Job.lease_expires_at > utc_now()
    )
    return max(1, session.scalar(at_work) or 0)


def _finished(session: Session, kind: str, planned: Iterable[Planned]) -> list[_Finished]:
    datasets = {each.spec.dataset.name for each in planned}
    if not datasets:
        return []
    training = aliased(Job)
    of = training.id == (Job.id if kind == "train" else Job.source_job_id)
    jobs = session.execute(
        select(Job.id, training.group_sha256, Job.method, Job.dataset, Job.started_at, Job.finished_at)
        .join(training, of)
        .where(Job.kind == kind, Job.state == "succeeded", Job.dataset.in_(datasets))
        .where(Job.started_at.is_not(None), Job.finished_at.is_not(None))
        .order_by(Job.id.desc())
        .limit(LOOKED_AT)
    ).all()
    started = select(JobEvent.job_id, JobEvent.data).where(
        JobEvent.job_id.in_([job.id for job in jobs]), JobEvent.type == "started"
    )
    steps = {job_id: int(data.get("total_steps", 0)) for job_id, data in session.execute(started)}
    return [
        _Finished(
            job.group_sha256,
            job.method,
            job.dataset,
            (job.finished_at - job.started_at).total_seconds(),
            steps.get(job.id, 0),
        )
        for job in jobs
    ]


def _training(planned: Planned, finished: Sequence[_Finished]) -> _Guess | None:
    spec = planned.spec
    group = spec_hash(spec, with_seed=False)
    same = [each.seconds for each in finished if each.group_sha256 == group]
    if same:
        return _Guess(statistics.median(same), SAME)
    alike = [
        each.seconds / each.steps
        for each in finished
        if (each.method, each.dataset) == (spec.method.name, spec.dataset.name) and each.steps
    ]
    return _Guess(statistics.median(alike) * spec.total_steps, ALIKE) if alike else None


def _probe(planned: Planned, finished: Sequence[_Finished]) -> _Guess | None:
    group = spec_hash(planned.spec, with_seed=False)
    same = [each.seconds for each in finished if each.group_sha256 == group]
    if same:
        return _Guess(statistics.median(same), SAME)
    alike = [each.seconds for each in finished if each.dataset == planned.spec.dataset.name]
    return _Guess(statistics.median(alike), SAME_DATA) if alike else None
