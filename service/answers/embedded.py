"""What embed jobs have left: which files there are, read from the run's directory and held against what the run told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from models_store.embeddings import MANIFEST, DamagedEmbeddingsError, EmbeddingsManifest, read_manifest
from service import jobs
from service.errors import ConflictError, NotFoundError, UnavailableError
from service.settings import Settings
from service.tables import Job, JobEvent
from training.run_dir import RunDir


@dataclass(frozen=True)
class Embedded:
    """A dataset's embeddings that are complete."""

    job_id: str
    sha256: str
    """Of the manifest, and so of all of it."""
    manifest: EmbeddingsManifest
    folder: Path


def of_job(session: Session, settings: Settings, job_id: str) -> Embedded:
    """Raises NotFoundError for a job that is none or embeds nothing, ConflictError as long as it has not succeeded, and
    UnavailableError when the manifest is not what the run wrote."""
    return _of(session, settings, jobs.get(session, job_id))


def index(session: Session, settings: Settings, job_id: str) -> Embedded:
    """The same for somebody who names it to search in."""
    job = session.get(Job, job_id)
    if job is None:
        raise NotFoundError.of(
            "index", job_id[:60], "an index is an embed job; list them with GET /v1/jobs?kind=embed"
        )
    return _of(session, settings, job)


def file(found: Embedded, name: str) -> Path:
    """Raises NotFoundError unless it is one of the files, and UnavailableError when it has another size than it had."""
    if name == MANIFEST:
        return found.folder / MANIFEST
    kept = found.manifest.files.get(name)
    if kept is None:
        raise NotFoundError.of(
            "file", name[:100], f"GET /v1/jobs/{found.job_id}/embeddings lists those that there are"
        )
    path = found.folder / name
    if not path.is_file() or path.stat().st_size != kept.size_bytes:
        raise damaged(found.job_id)
    return path


def damaged(job_id: str) -> UnavailableError:
    return UnavailableError(
        "embeddings_damaged",
        f"the embeddings of {job_id} are gone, or are not what was written; make them again with POST "
        f"/v1/jobs/{job_id}/clone",
    )


def _of(session: Session, settings: Settings, job: Job) -> Embedded:
    if job.kind != "embed":
        raise NotFoundError(
            "no_embeddings",
            f"{job.id} is a job of the kind {job.kind}, which leaves no embeddings of a dataset; submit one of the kind "
            "embed",
        )
    if job.state != "succeeded":
        raise ConflictError(
            "embed_not_succeeded", f"embed job {job.id} is {job.state}; its embeddings are there once it has succeeded"
        )  # fmt: skip
    told = select(JobEvent).where(JobEvent.job_id == job.id, JobEvent.type == "embedded")
    event = session.scalar(told.order_by(JobEvent.seq.desc()).limit(1))
    folder = RunDir(settings.runs_dir / job.id).embeddings
    try:
        sha256 = str(event.data["sha256"]) if event is not None else ""
        return Embedded(job.id, sha256, read_manifest(folder, sha256), folder)
    except DamagedEmbeddingsError:
        raise damaged(job.id) from None
