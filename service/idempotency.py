"""A POST that may be sent again: the same `Idempotency-Key` makes the same job once, however often it arrives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta

from pydantic import BaseModel
from sqlalchemy import delete
from sqlalchemy.orm import Session

from service import jobs
from service.db import take_turns
from service.errors import InvalidError
from service.tables import IdempotencyKey, Job, utc_now

LASTS = timedelta(hours=24)
"""Older keys may be used anew."""


def once(
    session: Session, actor: str, key: str | None, request: str, make: Callable[[], Job]
) -> tuple[Job, bool]:
    """The job that `make` creates, or the one that it created when this request came before; then also True.

    `request` is the request's fingerprint. The key is written in the job's own transaction, and of two equal requests
    at once the second waits for the first. Raises InvalidError when the key came with another request.
    """
    if key is None:
        return make(), False
    take_turns(session, "idempotency", actor, key)
    known = session.get(IdempotencyKey, (actor, key))
    if known is not None and utc_now() - known.created_at < LASTS:
        if known.fingerprint != request:
            raise InvalidError.at(
                "/header/Idempotency-Key",
                "idempotency_key_reused",
                "this key came with another request before; take a new key for a new request",
            )
        return jobs.get(session, known.job_id), True
    job = make()
    row = known or IdempotencyKey(actor=actor, key=key)
    row.fingerprint, row.job_id, row.created_at = request, job.id, utc_now()
    session.add(row)
    return job, False


def forget_old(session: Session) -> None:
    """Removes the keys that may be used anew."""
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < utc_now() - LASTS))


def fingerprint(method: str, path: str, body: BaseModel | None) -> str:
    """Equal for requests that mean the same; the order of fields and what is left at its default do not count."""
    content = None if body is None else body.model_dump(mode="json")
    return hashlib.sha256(json.dumps([method, path, content], sort_keys=True).encode()).hexdigest()
