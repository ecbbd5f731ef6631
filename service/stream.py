"""A job's events as they happen, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Each event row is sent once, with its number as id, so that a client whose connection broke goes on where it was.
Progress is not a row: it is sent, without id, whenever it has changed. The last event is `end`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool

from service import jobs
from service.db import UNREACHABLE, Sessions, reading
from service.schemas.jobs import EventOut
from service.states import TERMINAL
from service.tables import Job, JobEvent

log = logging.getLogger(__name__)

LOOK_S = 0.5
COMMENT_S = 15.0
"""Proxies and clients take a longer silence for a dead connection."""
AT_ONCE = 200


async def job_events(
    sessions: Sessions,
    leaving: threading.Event,
    job_id: str,
    after: int,
    *,
    look_s: float = LOOK_S,
    comment_s: float = COMMENT_S,
) -> AsyncIterator[bytes]:
    """From event `after` + 1 until the job has ended, or until `leaving` is set. Holds no session while it waits."""
    progress: dict[str, Any] = {}
    spoke_at = time.monotonic()
    while not leaving.is_set():
        try:
            job, events = await run_in_threadpool(_look, sessions, job_id, after)
        except UNREACHABLE as error:
            log.warning("an event stream ends because the database does not answer: %s", error)
            return
        for event in events:
            after, spoke_at = event.seq, time.monotonic()
            yield _sent(event.type, EventOut.model_validate(event).model_dump(mode="json"), after)
        if events and after < job.last_event_seq:
            continue
        if job.progress != progress:
            progress, spoke_at = job.progress, time.monotonic()
            yield _sent("progress", _about(job, "progress", "", progress))
        if job.state in TERMINAL:
            yield _sent("end", _about(job, "end", job.state, {"state": job.state}))
            return
        if time.monotonic() - spoke_at >= comment_s:
            spoke_at = time.monotonic()
            yield b": nothing new\n\n"
        await asyncio.sleep(look_s)


def _look(sessions: Sessions, job_id: str, after: int) -> tuple[Job, list[JobEvent]]:
    with reading(sessions) as session:
        job = jobs.get(session, job_id)
        return job, jobs.events(session, job_id, after, AT_ONCE) if job.last_event_seq > after else []


def _about(job: Job, kind: str, text: str, data: dict[str, Any]) -> dict[str, Any]:
    """What looks like an event and is none that is kept, so that it has no number."""
    actor = job.lease_owner or "system"
    told = EventOut(seq=0, at=job.updated_at, type=kind, level="info", text=text, data=data, actor=actor)
    return told.model_dump(mode="json", exclude={"seq"})


def _sent(kind: str, content: dict[str, Any], seq: int | None = None) -> bytes:
    """In ASCII: readers split lines at more characters than the format does."""
    number = "" if seq is None else f"id: {seq}\n"
    return f"{number}event: {kind}\ndata: {json.dumps(content)}\n\n".encode("ascii")
