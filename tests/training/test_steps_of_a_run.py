"""Runs whose steps are taken in parts, by several processes, averaged, or compiled: real processes, from the outside."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.training.runs import curve, done, made, of_type, small, started
from tests.training.test_fit import wait_for_step, weights_of
from training import checkpoint
from training.events import Done, Message
from training.run_dir import EXIT_INTERRUPTED, RunDir

STILL: dict[str, Any] = {
    "method": "cross",
    "dataset": {"augment": False},
    "optim": {"lr": 1e-4},
    "epochs": 2,
}
"""Nothing random but the order of the batches, which all ways of taking a step share; and no batch-norm, before which a
bias has no gradient but rounding errors, of which AdamW makes whole steps."""


def weights(run_dir: RunDir) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.choose(run_dir, "last").path / checkpoint.WEIGHTS)


@pytest.mark.parametrize(
    "way",
    [
        pytest.param({"processes": 2, "micro_batch_size": 8}, marks=pytest.mark.slow),
        pytest.param({"micro_batch_size": 8}, marks=pytest.mark.slow),
        pytest.param({"processes": 2}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_run_in_parts_equals_one_in_one_piece(tmp_path: Path, way: dict[str, int]) -> None:
    whole, parts = made(tmp_path / "whole", small(**STILL)), made(tmp_path / "parts", small(**STILL, **way))
    assert done("fit", whole) == 0
    assert done("fit", parts) == 0
    assert curve(parts) == pytest.approx(curve(whole), rel=1e-5)
    expected = weights(whole)
    for name, value in weights(parts).items():
        assert (value - expected[name]).abs().mean() < 2e-5, name


def test_processes_share_a_batch_size_that_they_can_share(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make batch_size a multiple of 3"):
        small(processes=3)


def followers(process: psutil.Process) -> list[psutil.Process]:
    return [each for each in process.children() if "training.__main__" in each.cmdline()]


@pytest.mark.slow
def test_processes_stop_together_and_go_on_as_if_they_had_not(tmp_path: Path) -> None:
    """With random views, which each process draws for itself."""
    spec = small(processes=2, epochs=6)
    undisturbed, stopped = made(tmp_path / "undisturbed", spec), made(tmp_path / "stopped", spec)
    assert done("fit", undisturbed) == 0
    process = started("fit", stopped)
    wait_for_step(stopped, 9)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == EXIT_INTERRUPTED
    assert [each.outcome for each in of_type(stopped, Done)] == ["interrupted"]
    assert done("fit", stopped) == 0
    assert curve(stopped) == curve(undisturbed)
    assert weights_of(stopped) == weights_of(undisturbed)


@pytest.mark.parametrize("victim", ["follower", pytest.param("first", marks=pytest.mark.slow)])
def test_when_one_process_is_killed_none_is_left(tmp_path: Path, victim: str) -> None:
    run_dir = made(tmp_path / "run", small(processes=2, epochs=2000))
    process = started("fit", run_dir)
    wait_for_step(run_dir, 2)
    first = psutil.Process(process.pid)
    others = followers(first)
    assert len(others) == 1
    os.kill(process.pid if victim == "first" else others[0].pid, signal.SIGKILL)
    assert process.wait(timeout=60) != 0
    deadline = time.monotonic() + 30
    while any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in others):
        assert time.monotonic() < deadline, "a follower outlives the first process"
        time.sleep(0.05)


@pytest.mark.slow
def test_an_averaged_run_goes_on_as_if_undisturbed_and_saves_the_average(tmp_path: Path) -> None:
    plain, spec = small(epochs=4), small(epochs=4, ema_decay=0.9)
    runs = {name: made(tmp_path / name, spec) for name in ("undisturbed", "stopped")}
    runs["plain"] = made(tmp_path / "plain", plain)
    assert done("fit", runs["undisturbed"]) == 0
    assert done("fit", runs["plain"]) == 0
    process = started("fit", runs["stopped"])
    wait_for_step(runs["stopped"], 9)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == EXIT_INTERRUPTED
    assert done("fit", runs["stopped"]) == 0
    assert weights_of(runs["stopped"]) == weights_of(runs["undisturbed"])
    assert curve(runs["undisturbed"]) == curve(
        runs["plain"]
    )  # the steps themselves do not know of the average
    assert weights_of(runs["undisturbed"]) != weights_of(runs["plain"])
    state = load_file(checkpoint.choose(runs["stopped"], "last").path / checkpoint.STATE)
    for name, value in weights(runs["plain"]).items():
        assert torch.equal(checkpoint.below("weights", state)[name], value), name


def test_a_run_without_progress_ends_when_patience_does(tmp_path: Path) -> None:
    learns_nothing: dict[str, Any] = {"optim": {"lr": 1e-12}, "epochs": 10}
    spec = small(**STILL | learns_nothing, probe={"every_epochs": 1, "patience": 2})
    run_dir = made(tmp_path / "run", spec)
    assert done("fit", run_dir) == 0
    assert max(curve(run_dir)) == 3 * spec.steps_per_epoch
    assert [each.outcome for each in of_type(run_dir, Done)] == ["succeeded"]
    assert any("2 probes brought nothing better" in each.text for each in of_type(run_dir, Message))
    assert done("fit", run_dir) == 0  # once more changes nothing
    assert max(curve(run_dir)) == 3 * spec.steps_per_epoch


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for the CPU needs a C++ compiler")
def test_a_compiled_run_follows_the_same_curve(tmp_path: Path) -> None:
    eager, compiled = (
        made(tmp_path / name, small(**STILL, compile=name == "compiled")) for name in ("eager", "compiled")
    )
    assert done("fit", eager) == 0
    assert done("fit", compiled) == 0
    assert curve(compiled) == pytest.approx(curve(eager), rel=1e-4)
