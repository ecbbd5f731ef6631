"""`fusebox demo`, as a newcomer runs it: real trainings, real processes, in a fresh folder."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.processes import eventually

pytestmark = pytest.mark.slow
LIMIT_S = 900
"""The demo takes three minutes on two quiet cores; the machines of tests are not quiet."""


@contextmanager
def demo(folder: Path, *arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """Ends with it, whatever the test has found."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FUSEBOX_")}
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "fusebox"), "demo", *arguments],
        env={**clean, "FUSEBOX_DATA_DIR": str(folder), "COLUMNS": "80", **environ},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.terminate()


def processes_of(folder: Path) -> list[psutil.Process]:
    """All that work in this data folder, whoever is their parent now."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join([*process.cmdline(), *process.environ().values()]):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_the_demo_shows_its_table_and_embeddings_and_leaves_no_process(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that it has to find another port
        port = str(taken.getsockname()[1])
        with demo(tmp_path, "--exit", FUSEBOX_PORT=port) as process:
            told, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, told
    assert "\x1b" not in told, "control characters in what is not a terminal"
    assert max(len(line) for line in told.splitlines() if not line.startswith("curl")) <= 80

    scores = {
        name: [float(each) for each in numbers.split()]
        for name, numbers in re.findall(r"^(InfMasking|CoMM|Cross|chance) +((?:\d+\.\d +){3})$", told, re.M)
    }
    assert scores["chance"] == [50.0, 10.0, 50.0]
    for method in ("InfMasking", "CoMM", "Cross"):
        redundancy, uniqueness, _ = scores[method]
        assert redundancy > 90
        assert uniqueness > 80
    assert abs(scores["Cross"][2] - 50) < 5, "Cross can tell synergy"
    assert scores["InfMasking"][2] > scores["CoMM"][2] > scores["Cross"][2]

    assert len(re.findall(r"\(64,\)  [+-]\d\.\d{3} ", told)) == 3
    (said,) = re.findall(r"^the image and “a handwritten seven” +(\S+) +(\S+)% *$", told, re.M)
    assert said[0] == "7"
    assert float(said[1]) > 50
    assert re.search(r"Its balanced accuracy is \d+\.\d% on \d+ unseen pairs", told)
    own, others, nearest = re.search(r"minus each modality's mean +(\S+) +(\S+) +(\d+)%", told).groups()  # type: ignore[union-attr]
    assert float(own) > float(others) + 0.3
    assert int(nearest) > 50
    assert (tmp_path / "demo" / "seven.png").is_file()
    assert re.search(r"That took \d+ min \d+ s\.", told)
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_it_trains_stops_everything(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path) as process:
        eventually(lambda: list(tmp_path.glob("runs/*/events.jsonl")), 120)
        process.send_signal(number)
        time.sleep(0.1)
        process.send_signal(number)  # impatience changes nothing
        told, _ = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "Stopping." in told
    assert "Traceback" not in told
    assert processes_of(tmp_path) == []


def test_what_cannot_start_is_told_in_one_line(tmp_path: Path) -> None:
    with demo(tmp_path, FUSEBOX_HOST="0.0.0.0") as process:
        told, _ = process.communicate(timeout=60)
    assert process.returncode == 78
    assert "error: " in told
    assert "Traceback" not in told
    assert processes_of(tmp_path) == []


def test_a_job_that_fails_is_told_and_ends_the_demo_with_status_1(tmp_path: Path) -> None:
    with demo(tmp_path, FUSEBOX_STALL_S="0.05") as process:  # no runner speaks as often as that
        told, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1, told
    assert re.search(r"^error: the job InfMasking failed: .*given up after 3 attempts$", told, re.M)
    assert "Traceback" not in told
    assert processes_of(tmp_path) == []
