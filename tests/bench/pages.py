"""What a browser takes for pages, by its own clock: Debian's Chromium before `fusebox serve` and a seeded SQLite database.

20 runs of 100,000 steps and nine further metrics, four methods over five seeds, are compared; a job of 40 metrics and 1,000
steps is looked at; and 10,000 points are drawn by the pages' own chart. *Interactive*: the first curve is drawn, and no task
longer than 50 ms comes later. Beside the times stands the work of both sides, which other processes do not change much: CPU
time of the API's process, and of the page's main thread.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import psutil
from playwright.sync_api import Browser, Page, Response
from sqlalchemy import insert

from service import metrics
from service.db import Sessions, make_engine, make_sessions, migrate, transaction
from service.metrics import Values
from service.tables import Job, ProbeResult, utc_now
from tests.bench.metrics import _api, _curve, _job, job_id
from tests.chromium import chromium
from training.spec import TrainSpec, spec_hash

REPEATS = 10
DRAWN_REPEATS = 30
METHODS = ("infmasking", "comm", "cross", "cross_self")
SEEDS = 5
TASKS = ("digit", "share", "parity")
LONG_STEPS, SHORT_STEPS = 100_000, 1_000
WIDE_METRICS = 40
POINTS = 10_000
LATER_MS = 1_500
"""How long a page is watched for tasks that come later."""

WATCH = """
window.longTasks = [];
new PerformanceObserver((list) => window.longTasks.push(...list.getEntries().map((each) => [each.startTime, each.duration])))
  .observe({ type: "longtask", buffered: true });
"""
INTERACTIVE = """(name) => {
  const [curve] = performance.getEntriesByName(`drawn ${name}`);
  const ends = window.longTasks.map(([start, lasted]) => start + lasted);
  return { drawn: curve.startTime + curve.duration, interactive: Math.max(curve.startTime + curve.duration, ...ends),
           busy: window.longTasks.reduce((sum, [, lasted]) => sum + lasted, 0) };
}"""
DRAW = """async (count) => {
  const { curve } = await import("/static/chart.js");
  const made = curve("many");
  document.querySelector("main").append(made.figure);
  const step = Array.from({ length: count }, (_, at) => at);
  const value = step.map((at) => Math.exp(-at / count) + Math.sin(at * 12.9898) / 10);
  const band = (by) => value.map((each) => each + by);
  made.draw({ step, value, low: band(-0.05), high: band(0.05) });
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  const [{ duration }] = performance.getEntriesByName("drawn many");
  made.figure.remove();
  return duration;
}"""


def measure() -> dict[str, float]:
    """Milliseconds and bytes, as the names say."""
    folder = Path(tempfile.mkdtemp(prefix="fusebox-bench-"))
    try:
        url = f"sqlite:///{folder / 'fusebox.db'}"
        migrate(url)
        engine = make_engine(url)
        seed(make_sessions(engine))
        engine.dispose()
        with _api(url, folder) as (client, process), chromium() as browser:
            server = str(client.base_url)
            ids = [job_id("long", no) for no in range(len(METHODS) * SEEDS)]
            found = _visited("compare", browser, process, f"{server}/compare?jobs={','.join(ids)}", "loss")
            found |= _visited("job_page", browser, process, f"{server}/jobs/{job_id('wide', 0)}", "curve/00")
            found |= _drawn(browser, f"{server}/workers")
    finally:
        shutil.rmtree(folder)
    return found


def seed(sessions: Sessions) -> None:
    """The same each time."""
    draw = np.random.default_rng(0)
    for no in range(len(METHODS) * SEEDS):
        curves = {"loss": _curve(draw, LONG_STEPS)}
        curves |= {f"train/metric {name}": _curve(draw, SHORT_STEPS) for name in range(9)}
        _run(sessions, job_id("long", no), METHODS[no // SEEDS], no % SEEDS, curves)
        _probed(sessions, job_id("long", no), no, draw.uniform(0.6, 0.9, len(TASKS)))
    wide = {f"curve/{name:02d}": _curve(draw, SHORT_STEPS) for name in range(WIDE_METRICS)}
    _run(sessions, job_id("wide", 0), METHODS[0], SEEDS, wide)


def _run(sessions: Sessions, job: str, method: str, no: int, curves: dict[str, Values]) -> None:
    """A training that has succeeded, with the spec of a real one."""
    spec = TrainSpec.model_validate({"dataset": "digits", "method": method, "seed": no, "epochs": 5})
    made = _job(job) | {
        "name": f"{method} {no}", "method": method, "seed": no, "spec": spec.model_dump(mode="json"),
        "spec_sha256": spec_hash(spec), "group_sha256": spec_hash(spec, with_seed=False), "finished_at": utc_now(),
    }  # fmt: skip
    with transaction(sessions) as session:
        session.execute(insert(Job), [made])
        metrics.append_values(session, job, 1, curves)


def _probed(sessions: Sessions, training: str, no: int, values: Iterable[float]) -> None:
    """A probe's scores of the training."""
    probe = job_id("probe", no)
    given = {
        "job_id": probe, "model_job_id": training, "checkpoint_step": LONG_STEPS, "dataset": "digits", "family": "synergy",
        "metric": "macro_accuracy", "split": "test", "protocol": "strict", "seed": 42, "chance": 0.1, "n": 1_000,
    }  # fmt: skip
    with transaction(sessions) as session:
        session.execute(insert(Job), [_job(probe) | {"kind": "probe", "source_job_id": training}])
        rows = [given | {"task": task, "value": value} for task, value in zip(TASKS, values, strict=True)]
        session.execute(insert(ProbeResult), rows)


def _visited(
    name: str, browser: Browser, process: psutil.Process, address: str, curve: str
) -> dict[str, float]:
    """Each time by a window that knows nothing of earlier ones."""
    drawn, interactive, busy, payload, work, page_work, asked = [], [], [], [], [], [], []
    for no in range(REPEATS + 1):
        before = process.cpu_times()
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.add_init_script(WATCH)
        inside = context.new_cdp_session(page)
        inside.send("Performance.enable", {"timeDomain": "threadTicks"})
        answers: list[Response] = []
        page.on("response", lambda answer, into=answers: into.append(answer))
        page.goto(address)
        page.locator("#curves").scroll_into_view_if_needed()
        page.wait_for_function("(name) => performance.getEntriesByName(`drawn ${name}`).length", arg=curve)
        page.wait_for_timeout(LATER_MS)
        told = page.evaluate(INTERACTIVE, curve)
        after = process.cpu_times()
        spent = {each["name"]: each["value"] for each in inside.send("Performance.getMetrics")["metrics"]}
        sent = sum(answer.request.sizes()["responseBodySize"] for answer in list(answers))
        context.close()
        if no:  # the first makes the server and the browser read their own files
            drawn.append(told["drawn"])
            interactive.append(told["interactive"])
            busy.append(told["busy"])
            payload.append(sent)
            asked.append(len(answers))
            page_work.append(spent["TaskDuration"] * 1e3)
            work.append((after.user + after.system - before.user - before.system) * 1e3)
    return _spread(f"{name}_drawn_ms", drawn) | _spread(f"{name}_interactive_ms", interactive) | {
        f"{name}_long_tasks_median_ms": statistics.median(busy),
        f"{name}_payload_kb": max(payload) / 1e3,
        f"{name}_requests": max(asked),
        f"{name}_api_cpu_median_ms": statistics.median(work),
        f"{name}_page_cpu_median_ms": statistics.median(page_work),
    }  # fmt: skip


def _drawn(browser: Browser, address: str) -> dict[str, float]:
    page: Page = browser.new_page()
    page.goto(address)
    took = [page.evaluate(DRAW, POINTS) for _ in range(DRAWN_REPEATS + 1)]
    return _spread("chart_10000_points_drawn_ms", took[1:])


def _spread(name: str, values: list[float]) -> dict[str, float]:
    p95 = name.replace("_ms", "_p95_ms")
    return {
        p95: float(np.percentile(values, 95)),
        name.replace("_ms", "_median_ms"): statistics.median(values),
    }
