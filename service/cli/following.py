"""Jobs as progress bars, a line for each, until all have ended.

A thread per job reads its event stream; only the caller's thread draws. A stream that breaks, because the server
starts again or the network was gone, is taken up where it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

from service.cli.terminal import out
from service.client import ApiProblem, Client, ClientError, Json, UnreachableError
from service.states import TERMINAL

RETRY_S, CHECK_S = 1.0, 0.5
TOLD = ("message", "result", "checkpoint", "exported")
"""Kinds of event whose text people may want to read."""
BESIDE_THE_BAR = 66
"""Columns of the terminal that the rest of a line may need."""

News = tuple[int, Json | None, Json | ClientError]
"""A job's place among those followed; the event, if it is news of one; the job now, or why it cannot be seen."""


def follow(
    client: Client,
    jobs: Sequence[Json],
    labels: Sequence[str] = ("",),
    *,
    told: Container[str] = TOLD,
    check: Callable[[], None] = lambda: None,
) -> list[Json]:
    """Shows these jobs until all have ended, and returns them as they are then.

    `check` is called at least twice a second; what it raises ends the following. Raises ClientError when the server
    does not let us see a job.
    """
    latest, news, stop = list(jobs), SimpleQueue[News](), threading.Event()
    waiting = {place for place, job in enumerate(jobs) if job["state"] not in TERMINAL}
    with Progress(*_columns(), console=out, refresh_per_second=5) as progress:
        bars = [progress.add_task("", total=None, label=label, pace="") for label in labels]
        for bar, job in zip(bars, jobs, strict=True):
            _show(progress, bar, job)
        try:
            for place in waiting:
                threading.Thread(
                    target=_watch, args=(client, jobs[place], place, news, stop), daemon=True
                ).start()
            while waiting:
                check()
                try:
                    place, event, seen = news.get(timeout=CHECK_S)
                except Empty:
                    continue
                if isinstance(seen, ClientError):
                    raise seen
                if event is not None and event["type"] in told and event.get("text"):
                    line = f"{labels[place].strip()} {event['text']}".strip()
                    progress.console.print(escape(line), style="dim", highlight=False)
                _show(progress, bars[place], seen)
                if event is None and seen["state"] in TERMINAL:
                    latest[place] = seen
                    waiting.remove(place)
        finally:
            stop.set()
    return latest


def assert_succeeded(job: Json) -> None:
    """Raises ClientError with the reason when it ended otherwise."""
    if job["state"] != "succeeded":
        name = f" {job['name']}" if job["name"] else ""
        raise ClientError(
            f"the job{name} {job['state']}: {job['error'] or job['reason'] or 'no reason was given'}"
        )


def span(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _watch(client: Client, job: Json, place: int, news: SimpleQueue[News], stop: threading.Event) -> None:
    """Events when they come; between two streams the job itself, which alone says how it ended."""
    seq = 0
    while not stop.is_set():
        try:
            for event in client.events(job["id"], after=seq):
                seq = max(seq, int(event.get("seq", seq)))
                job = _updated(job, event)
                news.put((place, event, job))
            if stop.is_set():
                return
            job = client.job(job["id"])
            news.put((place, None, job))
            if job["state"] in TERMINAL:
                return
        except UnreachableError:
            stop.wait(RETRY_S)
        except ApiProblem as problem:
            if problem.status < 500:
                news.put((place, None, problem))
                return
            stop.wait(RETRY_S)
        except RuntimeError:  # httpx: the client was closed, by whoever followed and has stopped meanwhile
            if not stop.is_set():
                raise


def _updated(job: Json, event: Json) -> Json:
    if event["type"] == "progress":
        return {**job, "progress": event["data"]}
    if event["type"] == "state":
        return {**job, "state": event["data"].get("to", job["state"])}
    return job


def _columns() -> tuple[Any, ...]:
    return (
        SpinnerColumn(),
        TextColumn("{task.fields[label]}"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=max(8, min(40, out.width - BESIDE_THE_BAR))),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
    )


def _show(progress: Progress, bar: TaskID, job: Json) -> None:
    at: dict[str, Any] = job["progress"] or {}
    phase, pace = "", ""
    if job["state"] == "running":
        rate, eta_s = at.get("rate"), at.get("eta_s")
        phase = f" · {at['phase']}" if at.get("phase") else ""
        pace = (f"{rate:.1f}/s " if rate else "") + (f"{span(eta_s)} left" if eta_s else "")
    progress.update(
        bar,
        description=job["state"] + phase,
        completed=at.get("step", 0),
        total=at.get("total"),
        pace=pace,
    )
