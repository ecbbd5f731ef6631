"""What people call a job: its name and its tags. They may change at any time, and nothing that is done depends on them."""

from __future__ import annotations

from sqlalchemy import delete
from sqlalchemy.orm import Session

from service import jobs
from service.errors import InvalidError
from service.schemas.jobs import MOST_TAGS, JobChanges
from service.tables import Job, JobTag, utc_now


def change(session: Session, job: Job, asked: JobChanges) -> None:
    """Calls the job what is asked for; what is not mentioned stays, and so does a job that is called so already.

    The job must be locked, so that of two who tag it at once none undoes the other's. Raises InvalidError when it would
    have too many tags.
    """
    had = set(jobs.tags_of(session, [job])[job.id])
    wanted = (had | set(asked.add_tags)) - set(asked.remove_tags) if asked.tags is None else set(asked.tags)
    if len(wanted) > MOST_TAGS:
        raise InvalidError.at(
            "/add_tags",
            "too_many_tags",
            f"job {job.id} would have {len(wanted)} tags, and may have {MOST_TAGS}; remove some in the same request",
        )
    named = asked.name is not None and asked.name != job.name
    if asked.name is not None:
        job.name = asked.name
    session.execute(delete(JobTag).where(JobTag.job_id == job.id, JobTag.tag.in_(had - wanted)))
    session.add_all(JobTag(job_id=job.id, tag=tag) for tag in sorted(wanted - had))
    if named or wanted != had:
        job.updated_at = utc_now()
    session.flush()
