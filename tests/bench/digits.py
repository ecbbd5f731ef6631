"""What the demo's three methods reach over seeds: trained and probed by hand, one process after the other.

Only when asked for by name: nine trainings and their probes take ten minutes of one CPU core.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from service.demo import specs
from training.events import Result
from training.run_dir import RunDir
from training.spec import ProbeSpec, TrainSpec

SEEDS = (42, 43, 44)


def measure() -> dict[str, float]:
    """Per method: mean and sample standard deviation over seeds of each task's macro accuracy in percent, CPU seconds."""
    measured: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for method in specs.METHODS:
            scores: dict[str, list[float]] = {}
            for seed in SEEDS:
                for name, value in train_and_probe(Path(folder) / "runs", method, seed).items():
                    scores.setdefault(name, []).append(value)
            for name, values in scores.items():
                measured[f"{method} {name} mean"] = statistics.fmean(values)
                measured[f"{method} {name} std"] = statistics.stdev(values)
    return measured


def train_and_probe(runs: Path, method: str, seed: int) -> dict[str, float]:
    training, probe = RunDir(runs / f"{method}-{seed}"), RunDir(runs / f"{method}-{seed}-probe")
    training.write_spec(TrainSpec.model_validate(specs.on_pairs(method, seed)))
    probe.write_spec(ProbeSpec.model_validate(specs.probe(training.name)))
    seconds = {"fit_cpu_s": cpu_seconds("fit", training), "probe_cpu_s": cpu_seconds("probe", probe)}
    results = [each for each in probe.read_events() if isinstance(each, Result)]
    scores = {each.task: 100 * each.value for each in results if each.metric == "macro_accuracy"}
    print(f"{method} {seed}: {scores} {seconds}", file=sys.stderr, flush=True)
    return {**scores, **seconds}


def cpu_seconds(work: str, run_dir: RunDir) -> float:
    """Runs it to the end. Raises CalledProcessError when it does not succeed."""
    command = [sys.executable, "-m", "training", work, str(run_dir.path)]
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return (after.children_user - before.children_user) + (after.children_system - before.children_system)
