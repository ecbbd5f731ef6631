"""Small real runs for the trainer's tests: digits, a narrow network, one thread."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.__main__ import WORKS, main
from training.events import Event, Metrics
from training.run_dir import RunDir
from training.spec import EmbedSpec, ExportSpec, ProbeSpec, TrainSpec

SMALL: dict[str, Any] = {
    "dataset": {"name": "digits", "n_pairs": 256},
    "model": {"dim": 16, "heads": 2, "head_hidden": 32, "head_out": 16},
    "optim": {"lr": 1e-3},
    "batch_size": 32,
    "epochs": 2,
    "threads": 1,
}


def small(**changes: Any) -> TrainSpec:
    """The small spec with changes; a dict is merged into the default's."""
    merged = {**SMALL}
    for name, value in changes.items():
        merged[name] = (
            {**merged[name], **value}
            if isinstance(merged.get(name), dict) and isinstance(value, dict)
            else value
        )
    return TrainSpec.model_validate(merged)


def made(folder: Path, spec: TrainSpec | ProbeSpec | ExportSpec | EmbedSpec) -> RunDir:
    run_dir = RunDir(folder)
    run_dir.write_spec(spec)
    return run_dir


def started(work: str, run_dir: RunDir) -> subprocess.Popen[bytes]:
    """As a worker starts it."""
    command = [sys.executable, "-m", "training", work, str(run_dir.path)]
    environment = environment_of(run_dir)
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def done(work: str, run_dir: RunDir) -> int:
    """Runs to the end in a process of its own, and returns the exit code. The process is the fork of one that has torch
    imported already, which saves each run five seconds; but for a run of several processes, the first of which starts the
    others as it was started itself."""
    if json.loads(run_dir.spec.read_text()).get("processes", 1) > 1:
        return started(work, run_dir).wait(timeout=300)
    process = FORKS.Process(target=_become, args=(work, str(run_dir.path), environment_of(run_dir)))
    process.start()
    process.join(timeout=300)
    assert process.exitcode is not None, "still running after five minutes"
    return process.exitcode


def environment_of(run_dir: RunDir) -> dict[str, str]:
    return {**os.environ, "FUSEBOX_DATASETS_DIR": str(run_dir.path.parent / "datasets")}


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(list(WORKS.values()))


def _become(work: str, run_dir: str, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.argv = ["python -m training", work, run_dir]
    sys.exit(main())


def of_type(run_dir: RunDir, kind: type[Event]) -> Iterator[Any]:
    return (event for event in run_dir.read_events() if isinstance(event, kind))


def curve(run_dir: RunDir, name: str = "loss") -> dict[int, float]:
    """Values by step as a reader of the events has them in the end: a resumed attempt voids later steps."""
    values: dict[int, float] = {}
    for event in run_dir.read_events():
        if event.type == "started":
            values = {step: value for step, value in values.items() if step <= event.resumed_from_step}
        if isinstance(event, Metrics) and name in event.values:
            assert event.step not in values, f"step {event.step} told twice"
            values[event.step] = event.values[name]
    return values
