"""What routes ask for by type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from service.bell import ring_pending
from service.db import reading, transaction
from service.resources import Resources


async def get_resources(request: Request) -> Resources:
    """Not waiting for anything, but a plain function would be sent to a thread for each request."""
    resources: Resources = request.app.state.resources
    return resources


ResourcesDep = Annotated[Resources, Depends(get_resources)]


def _read(resources: ResourcesDep) -> Iterator[Session]:
    with reading(resources.sessions) as session:
        yield session


def _write(resources: ResourcesDep) -> Iterator[Session]:
    with transaction(resources.sessions) as session:
        yield session
    # Only what is committed may be announced: a worker that looks earlier finds nothing.
    ring_pending(session, resources.bell)


# Scope "function": the transaction ends before the answer is sent, so an answer never promises what was not stored.
ReadSession = Annotated[Session, Depends(_read, scope="function")]
WriteSession = Annotated[Session, Depends(_write, scope="function")]
