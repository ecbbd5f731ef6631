"""Who checks an upload, and how that ended: `service.worker.registrar` claims a row as workers claim jobs.

A claim gives a lease and a token that is greater than all before it. When a worker dies, its lease runs out and another
one begins again; one that was only slow is fenced, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service.data import datasets
from service.db import Sessions, transaction
from service.leases import FencedError
from service.tables import Dataset, Upload, utc_now
from training.spec.registration import DatasetManifest, Report

MOST_TRIES = 3
"""Of checking files that a worker died of each time."""


@dataclass(frozen=True)
class Claim:
    """The right to check an upload, as long as it is renewed."""

    upload_id: str
    token: int
    tries: int
    name: str
    format: str
    options: Mapping[str, Any]
    sha256: str | None
    """What the client says that the file's is."""


def claim(sessions: Sessions, owner: str, lease_s: float) -> Claim | None:
    """The oldest upload that waits to be checked, or whose worker was not heard of any more."""
    with transaction(sessions) as session:
        now = utc_now()
        waiting = (
            select(Upload)
            .where(Upload.state == "checking")
            .where(or_(Upload.lease_expires_at.is_(None), Upload.lease_expires_at < now))
            .order_by(Upload.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        row = session.scalar(waiting)
        if row is None:
            return None
        row.token, row.tries = row.token + 1, row.tries + 1
        row.lease_owner, row.lease_expires_at = owner, now + timedelta(seconds=lease_s)
        return Claim(row.id, row.token, row.tries, row.name, row.format, row.options, row.sha256)


def renew(sessions: Sessions, claim: Claim, lease_s: float, progress: Mapping[str, Any]) -> None:
    """Keeps the lease and says how far the checking is. Raises FencedError when somebody else has it, or nobody wants it."""
    with transaction(sessions) as session:
        row = _held(session, claim)
        row.lease_expires_at = utc_now() + timedelta(seconds=lease_s)
        row.progress = dict(progress)


def release(sessions: Sessions, claim: Claim) -> None:
    """Lets another worker begin again at once; the try does not count. Raises FencedError."""
    with transaction(sessions) as session:
        row = _held(session, claim)
        row.token, row.tries, row.progress = row.token + 1, row.tries - 1, {}
        row.lease_owner, row.lease_expires_at = None, None


def finish(
    sessions: Sessions, claim: Claim, sha256: str, manifest: DatasetManifest, report: Report
) -> Dataset:
    """The dataset is there under its name, and the upload says so, at the same moment. Raises FencedError."""
    with transaction(sessions) as session:
        row = _held(session, claim)
        dataset = datasets.add(session, row.name, sha256, manifest, report, actor=row.created_by)
        told = report.model_dump(mode="json")
        row.report = {"report": told, "unusable": told["dropped"]}
        _end(row, "ready")
        row.dataset_sha256 = sha256
        return dataset


def refuse(sessions: Sessions, claim: Claim, error: str, unusable: Sequence[Mapping[str, Any]] = ()) -> None:
    """Raises FencedError."""
    with transaction(sessions) as session:
        row = _held(session, claim)
        row.error, row.report = error, {"unusable": list(unusable)}
        _end(row, "refused")


def _end(row: Upload, state: str) -> None:
    row.state, row.progress = state, {}
    row.lease_owner, row.lease_expires_at = None, None


def _held(session: Session, claim: Claim) -> Upload:
    row = session.get(Upload, claim.upload_id, with_for_update=True, populate_existing=True)
    if row is None or row.token != claim.token or row.state != "checking":
        raise FencedError(f"{claim.upload_id} was removed, or has passed to another worker")
    return row
