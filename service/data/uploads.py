"""Uploads of datasets: from an announcement to files that have arrived, been checked, and are a dataset or refused.

    uploading → checking → ready | refused

The file is on disk (`service.data.upload_files`); a row says whose it is and what it shall be. Of one name only one upload is
under way at a time. Who checks files is in `service.data.upload_claims`.
"""

from __future__ import annotations

import json
import logging
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.data import datasets, upload_files
from service.db import Sessions, new_id, reading, take_turns, transaction
from service.errors import ConflictError, InvalidError, NotFoundError, OverloadedError, TooLargeError
from service.schemas.uploads import NewUpload, UploadOut
from service.settings import Settings
from service.tables import Upload, utc_now
from training.spec.registration import OWN_FORMATS, PICKLES

log = logging.getLogger(__name__)

UNFINISHED = ("uploading", "checking")
ABANDONED_S = 24 * 3600
"""An upload to which nothing has come for so long is removed."""
REMEMBERED = timedelta(days=7)
"""What came of an upload can be asked for so long."""
MOST_OPTIONS_CHARS = 64 * 1024
"""They are one argument of a process."""


def begin(session: Session, settings: Settings, asked: NewUpload, actor: str) -> Upload:
    """Raises InvalidError for a format that is not read over HTTP, ConflictError while another of that name is under
    way, TooLargeError and OverloadedError beyond the limits."""
    _assert_uploadable(asked.format)
    datasets.assert_nameable(asked.name)
    if (asked.size_bytes or 0) > settings.max_upload_bytes:
        raise TooLargeError(
            "upload_too_large",
            f"the file may have {settings.max_upload_bytes} bytes; register it on the server itself with `fusebox datasets add`",
        )
    options = asked.options.model_dump(mode="json", exclude_unset=True)
    if len(json.dumps(options)) > MOST_OPTIONS_CHARS:
        raise InvalidError.at(
            "/options",
            "options_too_long",
            f"options may have {MOST_OPTIONS_CHARS} characters; put the rest into dataset.json",
        )
    _take_place(session, settings, asked.name)
    row = Upload(
        id=new_id("upload"),
        name=asked.name,
        format=asked.format,
        options=options,
        size_bytes=asked.size_bytes,
        sha256=asked.sha256,
        created_by=actor,
    )
    session.add(row)
    session.flush()
    upload_files.make(settings, row.id)
    return row


def get(session: Session, upload_id: str, *, for_update: bool = False) -> Upload:
    """Raises NotFoundError."""
    row = session.get(Upload, upload_id, with_for_update=for_update, populate_existing=for_update)
    if row is None:
        raise NotFoundError.of("upload", upload_id[:64], "begin one with POST /v1/datasets")
    return row


def page(session: Session, name: str | None, limit: int) -> list[Upload]:
    """Newest first."""
    query = select(Upload).order_by(Upload.id.desc()).limit(limit)
    return list(session.scalars(query if name is None else query.where(Upload.name == name)))


def most_bytes(sessions: Sessions, settings: Settings, upload_id: str) -> int:
    """How large its file may become. Raises NotFoundError, or ConflictError when all of it has come."""
    with reading(sessions) as session:
        row = get(session, upload_id)
    if row.state != "uploading":
        raise ConflictError("upload_complete", f"this upload is {row.state}; nothing more can come to it")
    return settings.max_upload_bytes if row.size_bytes is None else row.size_bytes


def complete(session: Session, settings: Settings, upload_id: str) -> Upload:
    """All has come; from now on it waits to be checked. Safe to repeat. Raises ConflictError when something is missing."""
    row = get(session, upload_id, for_update=True)
    if row.state != "uploading":
        return row
    with upload_files.alone(settings, upload_id) as received:
        wanted = row.size_bytes
        if received == 0 or (wanted is not None and received != wanted):
            raise ConflictError(
                "upload_incomplete",
                f"{received} bytes have arrived"
                + (f" of {wanted}" if wanted is not None else "")
                + "; send the rest first",
                headers={upload_files.OFFSET: str(received)},
            )
        row.state, row.received_bytes = "checking", received
    session.flush()
    return row


def remove(sessions: Sessions, settings: Settings, upload_id: str) -> None:
    """Forgets the upload, whatever its state. A worker that checks it stops; a dataset that it has become stays."""
    with transaction(sessions) as session:
        session.delete(get(session, upload_id, for_update=True))
    upload_files.remove(settings, upload_id)


def told(row: Upload, settings: Settings) -> UploadOut:
    is_open = row.state == "uploading"
    return UploadOut(
        id=row.id,
        name=row.name,
        format=row.format,
        state=row.state,
        offset=upload_files.received(settings, row.id) if is_open else row.received_bytes,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        progress=row.progress or None,
        error=row.error,
        unusable=row.report.get("unusable", []),
        report=row.report.get("report"),
        dataset_sha256=row.dataset_sha256,
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def address(upload_id: str) -> str:
    return f"/v1/datasets/uploads/{upload_id}"


def forget_old(sessions: Sessions, settings: Settings) -> None:
    """Removes what nobody has gone on with, and files that no upload needs any more."""
    with transaction(sessions) as session:
        session.execute(
            delete(Upload).where(Upload.state.not_in(UNFINISHED), Upload.updated_at < utc_now() - REMEMBERED)
        )
        for row in session.scalars(
            select(Upload).where(Upload.state == "uploading").with_for_update(skip_locked=True)
        ):
            age_s = (utc_now() - row.created_at).total_seconds()
            if min(age_s, upload_files.idle_s(settings, row.id)) > ABANDONED_S:
                log.info("%s for %r was abandoned", row.id, row.name)
                session.delete(row)
    with reading(sessions) as session:
        needed = set(session.scalars(select(Upload.id).where(Upload.state.in_(UNFINISHED))))
    for upload_id in upload_files.every(settings):
        # A file is made shortly before its row can be seen by others.
        if upload_id not in needed and upload_files.idle_s(settings, upload_id) > settings.lease_s:
            upload_files.remove(settings, upload_id)


def _take_place(session: Session, settings: Settings, name: str) -> None:
    """Until the session ends nobody else begins. Raises ConflictError or OverloadedError when there is no place."""
    take_turns(session, "uploads")
    unfinished = Upload.state.in_(UNFINISHED)
    other = session.scalar(select(Upload).where(Upload.name == name, unfinished))
    if other is not None:
        raise ConflictError(
            "upload_under_way",
            f"the upload {other.id} for {name!r} is under way since {other.created_at:%Y-%m-%d %H:%M} UTC; go on with it, "
            "or remove it first",
            headers={"Location": address(other.id)},
        )
    if (session.scalar(select(func.count()).where(unfinished)) or 0) >= settings.max_uploads:
        raise OverloadedError(
            "too_many_uploads",
            f"{settings.max_uploads} uploads are under way; wait until one has ended",
            retry_after_s=60,
        )


def _assert_uploadable(format: str) -> None:
    if format in OWN_FORMATS:
        return
    why = (
        "its files are pickles, which can run programs and are never accepted over HTTP"
        if format in PICKLES
        else "it is the layout of a published dataset"
    )
    raise InvalidError.at(
        "/format",
        "format_not_uploadable",
        f"{format!r} cannot be uploaded: {why}; register it on the server itself with `fusebox datasets add {format} PATH`. "
        f"Uploads are one of {', '.join(OWN_FORMATS)}",
    )
