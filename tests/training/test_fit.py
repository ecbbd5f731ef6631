"""A run trains, stops when asked, survives being killed, and then equals a run that never was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.runs import curve, done, made, of_type, small, started
from training import checkpoint
from training.events import CheckpointSaved, Done, Message, Started
from training.run_dir import EXIT_FAILED, EXIT_INTERRUPTED, RunDir


def weights_of(run_dir: RunDir) -> str:
    return checkpoint.choose(run_dir, "last").meta.sha256[checkpoint.WEIGHTS]


def wait_for_step(run_dir: RunDir, step: int) -> None:
    deadline = time.monotonic() + 120
    while max(curve(run_dir), default=0) < step:
        assert time.monotonic() < deadline, "the run makes no progress"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("form", "method"),
    [
        ("captions", "infmasking"),
        ("pairs", "cross"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("pairs", "infmasking"),
                ("pairs", "comm"),
                ("captions", "comm"),
                ("captions", "cross"),
            )
        ),
    ],
)
def test_every_method_learns_on_pairs_and_on_captions(tmp_path: Path, method: str, form: str) -> None:
    spec = small(method=method, dataset={"form": form, "n_pairs": 512}, epochs=4)
    run_dir = made(tmp_path / "run", spec)
    assert done("fit", run_dir) == 0
    losses = list(curve(run_dir).values())
    assert len(losses) == spec.total_steps
    assert sum(losses[-8:]) < sum(losses[:8])


def test_three_modalities_and_two_fusion_blocks_train(tmp_path: Path) -> None:
    run_dir = made(tmp_path / "run", small(dataset={"form": "triples"}, model={"layers": 2}, epochs=1))
    assert done("fit", run_dir) == 0
    assert {"loss/align_3", "loss/mask_2"} <= set(
        json.loads(run_dir.events.read_text().splitlines()[2])["values"]
    )


def test_training_in_bfloat16_gives_finite_losses(tmp_path: Path) -> None:
    run_dir = made(tmp_path / "run", small(precision="bf16", epochs=1))
    assert done("fit", run_dir) == 0
    assert len(curve(run_dir)) == 8


@pytest.mark.parametrize(
    "blow",
    [
        pytest.param(signal.SIGKILL, id="killed"),
        pytest.param(signal.SIGTERM, id="asked to stop", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("form", ["pairs", pytest.param("captions", marks=pytest.mark.slow)])
def test_an_interrupted_run_ends_with_the_weights_and_curves_of_an_undisturbed_one(
    tmp_path: Path, blow: signal.Signals, form: str
) -> None:
    spec = small(
        dataset={"form": form, "n_pairs": 1024},
        epochs=3,
        checkpoints={"every_steps": 7},
        probe={"every_epochs": 1},
    )
    undisturbed, disturbed = made(tmp_path / "a", spec), made(tmp_path / "b", spec)
    assert done("fit", undisturbed) == 0

    for step in (10, 45):
        process = started("fit", disturbed)
        wait_for_step(disturbed, step)
        process.send_signal(blow)
        assert process.wait(60) == (-signal.SIGKILL if blow == signal.SIGKILL else EXIT_INTERRUPTED)
    assert done("fit", disturbed) == 0

    assert weights_of(disturbed) == weights_of(undisturbed)
    for name in ("loss", "loss/mask_1", "probe/mean"):
        assert curve(disturbed, name) == curve(undisturbed, name)
    assert list(curve(disturbed)) == list(range(1, spec.total_steps + 1))
    resumed = [event.resumed_from_step for event in of_type(disturbed, Started)]
    assert resumed[0] == 0
    assert resumed[1] > 0
    assert resumed[2] > resumed[1]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    run_dir = made(tmp_path / "run", small())
    assert done("fit", run_dir) == 0
    finished = weights_of(run_dir)
    last = checkpoint.folder_of(run_dir, checkpoint.steps(run_dir)[-1]) / checkpoint.WEIGHTS
    content = bytearray(last.read_bytes())
    content[-1] ^= 1
    last.write_bytes(content)

    assert done("fit", run_dir) == 0
    assert weights_of(run_dir) == finished
    warnings = [event.text for event in of_type(run_dir, Message) if event.level == "warning"]
    assert any("sha256 differs" in text for text in warnings)


def test_the_last_three_checkpoints_and_the_best_are_kept(tmp_path: Path) -> None:
    run_dir = made(tmp_path / "run", small(epochs=6, probe={"every_epochs": 2, "max_samples": 500}))
    assert done("fit", run_dir) == 0
    events = list(of_type(run_dir, CheckpointSaved))
    best = max((event for event in events if event.score is not None), key=lambda event: event.score)
    assert checkpoint.steps(run_dir) == sorted({best.step, 32, 40, 48})
    assert checkpoint.choose(run_dir, "best").meta.step == best.step
    assert [event.step for event in events if event.score is not None] == [16, 32, 48]


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    run_dir = made(
        tmp_path / "run", small(optim={"lr": 10.0, "weight_decay": 10.0}, method="cross", epochs=50)
    )
    assert done("fit", run_dir) == EXIT_FAILED
    last = list(of_type(run_dir, Done))[-1]
    assert last.code == "non_finite_loss"
    assert "smaller optim.lr" in last.text


def test_a_spec_that_is_not_valid_fails_with_its_field(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run")
    run_dir.path.mkdir()
    run_dir.spec.write_text('{"dataset": "digits", "epochs": 0}')
    assert done("fit", run_dir) == EXIT_FAILED
    last = list(of_type(run_dir, Done))[-1]
    assert last.code == "invalid_spec"
    assert "epochs" in last.text


def test_a_second_runner_in_the_same_directory_gives_way(tmp_path: Path) -> None:
    run_dir = made(tmp_path / "run", small(epochs=200))
    first = started("fit", run_dir)
    try:
        wait_for_step(run_dir, 2)
        assert done("fit", run_dir) == 1
        assert len(list(of_type(run_dir, Started))) == 1
    finally:
        first.send_signal(signal.SIGTERM)
        first.wait(30)


def test_half_a_line_that_a_killed_runner_left_is_cut_off(tmp_path: Path) -> None:
    run_dir = made(tmp_path / "run", small(epochs=1))
    run_dir.events.write_bytes(b'{"type":"message","text":"whole"}\n{"type":"mess')
    assert done("fit", run_dir) == 0
    texts = [event.text for event in of_type(run_dir, Message)]
    assert texts[0] == "whole"


def test_a_runner_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    run_dir = made(tmp_path / "run", small(epochs=500))
    starter = (
        "import os, subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'training', 'fit', sys.argv[1], '--die-with-parent', str(os.getpid())]\n"
        "child = subprocess.Popen(command)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", starter, str(run_dir.path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    wait_for_step(run_dir, 2)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "the runner outlived its parent"
        time.sleep(0.05)
        os.sched_yield()
