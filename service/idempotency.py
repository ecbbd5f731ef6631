"""A POST that may be sent again: the same `Idempotency-Key` makes the same thing once, however often it arrives: a job,
or a replication."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar, cast

from pydantic import BaseModel
from sqlalchemy import delete
from sqlalchemy.orm import Session

from service.db import take_turns
from service.errors import InvalidError
from service.tables import IdempotencyKey, Job, Replication, utc_now

Made = TypeVar("Made", Job, Replication)

LASTS = timedelta(hours=24)
"""Older keys may be used anew."""


def once(
    session: Session, actor: str, key: str | None, request: str, make: Callable[[], Made]
) -> tuple[Made, bool]:
    """What `make` creates, or what it created when this request came before; then also True.

    `request` is the request's fingerprint. The key is written in the same transaction, and of two equal requests
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
        return cast(Made, _made_then(session, known)), True
    made = make()
    row = known or IdempotencyKey(actor=actor, key=key)
    row.fingerprint, row.created_at = request, utc_now()
    row.job_id = made.id if isinstance(made, Job) else None
    row.replication_id = made.id if isinstance(made, Replication) else None
    session.add(row)
    return made, False


def _made_then(session: Session, known: IdempotencyKey) -> Job | Replication:
    """Of the kind that is asked for now, since the request is the same."""
    if known.job_id is not None:
        return session.get_one(Job, known.job_id)
    return session.get_one(Replication, known.replication_id)


def forget_old(session: Session) -> None:
    """Removes the keys that may be used anew."""
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < utc_now() - LASTS))


def fingerprint(method: str, path: str, body: BaseModel | None) -> str:
    """Equal for requests that mean the same; the order of fields and what is left at its default do not count."""
    content = None if body is None else body.model_dump(mode="json")
    return hashlib.sha256(json.dumps([method, path, content], sort_keys=True).encode()).hexdigest()
