"""Whether the service can do its work, part by part, and the numbers that a monitoring system collects."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import redis
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from service.db import UNREACHABLE, is_migrated
from service.inference.engine import InferenceEngine
from service.inference.meters import Meters
from service.resources import Resources
from service.schemas.health import PartOut, PartState, Readiness
from service.siblings import Told
from service.states import STATES
from service.tables import Job
from service.version import VERSION
from service.web.traffic import Traffic

MIN_FREE_BYTES = 512 * 2**20
"""Less free space than this and a checkpoint may not fit."""
REDIS_PATIENCE_S = 0.5
REMEMBERED_S = 60.0
"""How long the death of a thread is told."""
MOST_NAMED = 5
WORSE: tuple[PartState, ...] = ("ok", "degraded", "failed")


def readiness(resources: Resources) -> Readiness:
    """Redis only rings the bell: without it jobs are accepted and start later, so its loss degrades and no more."""
    parts = {
        "database": _database(resources.engine),
        "disk": _disk(resources.settings.data_dir),
        "inference": _inference_of_all(resources),
        "redis": _redis(resources.settings.redis_url),
    }
    return Readiness(status=_worst(parts.values()).state, parts=parts)


def exposition(session: Session, traffic: Traffic, resources: Resources) -> str:
    """Prometheus' text format, of all API processes at this address."""
    rows = session.execute(select(Job.state, func.count()).group_by(Job.state))
    counts = {state: count for state, count in rows}  # noqa: C416  rows are no pairs to the type checker
    return _text(_jobs(counts)) + resources.siblings.counted(partial(told, resources, traffic))


def told(resources: Resources, traffic: Traffic) -> Told:
    """What this process says of itself to the others at its address."""
    return Told(
        pid=os.getpid(),
        at=time.monotonic(),
        inference=_inference(resources.inference, resources.settings.inference_stall_s),
        exposition=_counted(traffic, resources.inference.meters),
    )


def _database(engine: Engine) -> PartOut:
    try:
        migrated = is_migrated(engine)
    except UNREACHABLE:
        return PartOut(state="failed", detail="the database does not answer")
    if not migrated:
        return PartOut(state="failed", detail="the tables are of another version; run `fusebox migrate`")
    return PartOut(state="ok", detail="answers, and its tables are up to date")


def _disk(folder: Path) -> PartOut:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return PartOut(state="failed", detail="the data folder cannot be read")
    if free < MIN_FREE_BYTES:
        return PartOut(
            state="failed", detail=f"{free // 2**20} MiB free; {MIN_FREE_BYTES // 2**20} are needed"
        )
    return PartOut(state="ok", detail=f"{free // 2**30} GiB free")


def _inference_of_all(resources: Resources) -> PartOut:
    """The worst of what the processes at this address say, each of which has an engine of its own."""
    stall_s, siblings = resources.settings.inference_stall_s, resources.siblings
    others = [each for each in siblings.others() if each.is_there]
    said = [_inference(resources.inference, stall_s), *(_sibling(each, stall_s) for each in others)]
    if len(said) < siblings.count:
        missing = f"{len(said)} of {siblings.count} API processes are there; the others are being started"
        said.append(PartOut(state="degraded", detail=missing))
    return _worst(said)


def _worst(parts: Iterable[PartOut]) -> PartOut:
    return max(parts, key=lambda part: WORSE.index(part.state))


def _sibling(told: Told, stall_s: float) -> PartOut:
    name = f"API process {told.pid}"
    if told.silent_s >= stall_s:
        return PartOut(state="failed", detail=f"{name} has said nothing for {told.silent_s:.0f} s; restart")
    return PartOut(state=told.inference.state, detail=f"{name}: {told.inference.detail}")


def _inference(engine: InferenceEngine, stall_s: float) -> PartOut:
    """Failed while it computes nothing; degraded while somebody is given less than was asked for, and for a while after."""
    batcher = engine.batcher
    stalled_s, failure, failing = batcher.stalled_s(), batcher.failure, engine.references.failing
    if stalled_s >= stall_s:
        return PartOut(
            state="failed", detail=f"no batch was done for {stalled_s:.0f} s, and inputs wait; restart"
        )
    if failure is not None and time.monotonic() - failure.at < REMEMBERED_S:
        times = f"{batcher.counts.restarts} time{'s' if batcher.counts.restarts > 1 else ''}"
        since = "works again" if failure.is_over else "has not computed a batch since"
        said = f"a thread died and was replaced {times}, the last one of {failure.reason}; it {since}"
        return PartOut(state="degraded", detail=said)
    if failing:
        names = ", ".join(f"{name[:60]} ({each.code})" for name, each in sorted(failing.items())[:MOST_NAMED])
        return PartOut(
            state="degraded", detail=f"cannot be loaded, so that earlier versions serve on: {names}"
        )
    return PartOut(
        state="ok", detail=f"{len(engine.models.loaded)} models in memory, {batcher.waiting} inputs waiting"
    )


def _redis(url: str) -> PartOut:
    if not url:
        return PartOut(
            state="degraded", detail="no Redis is named; workers find jobs only by looking now and then"
        )
    client = redis.Redis.from_url(
        url, socket_timeout=REDIS_PATIENCE_S, socket_connect_timeout=REDIS_PATIENCE_S
    )
    try:
        client.ping()
    except redis.RedisError:
        return PartOut(state="degraded", detail="Redis does not answer; jobs are accepted and start later")
    finally:
        client.close()
    return PartOut(state="ok", detail="answers")


def _counted(traffic: Traffic, meters: Meters) -> str:
    return _text(_requests(traffic)) + meters.exposition()


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _jobs(jobs: Mapping[str, int]) -> Iterator[str]:
    yield "# HELP fusebox_jobs Jobs by state."
    yield "# TYPE fusebox_jobs gauge"
    for state in STATES:
        yield f'fusebox_jobs{{state="{state}"}} {jobs.get(state, 0)}'


def _requests(traffic: Traffic) -> Iterator[str]:
    yield "# HELP fusebox_info The version that runs."
    yield "# TYPE fusebox_info gauge"
    yield f'fusebox_info{{version="{VERSION}"}} 1'
    yield "# HELP fusebox_uptime_seconds Since the oldest API process at this address started."
    yield "# TYPE fusebox_uptime_seconds gauge"
    yield f"fusebox_uptime_seconds {time.monotonic() - traffic.started_at:.3f}"
    yield "# HELP fusebox_api_processes That answer at this address."
    yield "# TYPE fusebox_api_processes gauge"
    yield "fusebox_api_processes 1"
    yield "# HELP fusebox_http_request_duration_seconds Answered requests, with the time they took."
    yield "# TYPE fusebox_http_request_duration_seconds summary"
    for key, count in sorted(traffic.requests.items()):
        method, route, status = key
        labels = f'{{method="{method}",route="{route}",status="{status}"}}'
        yield f"fusebox_http_request_duration_seconds_sum{labels} {traffic.seconds[key]:.6f}"
        yield f"fusebox_http_request_duration_seconds_count{labels} {count}"
