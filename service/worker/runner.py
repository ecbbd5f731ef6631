"""A runner: one `python -m training …` process at work in a run directory, in a process group of its own.

It gets the few variables of our environment that it needs, so no address and no secret of ours; it dies with the
worker that started it. Linux only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from training.run_dir import RunDir
from training.spec import Kind

WORKS: dict[Kind, str] = {"train": "fit", "probe": "probe", "export": "export", "embed": "embed"}
INHERITED = frozenset(
    {"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "FUSEBOX_HUB"}
)
INHERITED_PREFIXES = (
    "LC_", "PYTHON", "OMP_", "MKL_", "KMP_", "OPENBLAS_", "NUMBA_", "CUDA_", "NVIDIA_", "NCCL_", "TORCH",
    "HF_HUB_", "HF_HOME",
)  # fmt: skip


class Runner:
    """Starts at once, its output appended to the run's log.

    nice: by how much it gives way to whatever else the machine computes.
    """

    def __init__(self, kind: Kind, run_dir: RunDir, datasets_dir: Path, nice: int = 0) -> None:
        parent = str(os.getpid())
        # -P: what lies in the run directory is never imported.
        argv = [sys.executable, "-P", "-m", "training", WORKS[kind], str(run_dir.path)]
        with run_dir.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*argv, "--die-with-parent", parent],
                cwd=run_dir.path,
                env=environment(datasets_dir),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        step_back(self.pid, nice)
        self.started = started_at(self.pid) or 0.0

    def exit_code(self) -> int | None:
        """None while it works; negative: the signal that ended it."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """It saves its state and ends."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it and whatever it has started, at once. Safe to repeat."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def step_back(pid: int, nice: int) -> None:
    """A process that has just begun, and all that it will start: it computes in the time that others leave.

    Where the kernel shares time out among sessions first (autogroup), a process's own niceness says nothing outside its
    session, which therefore has one too.
    """
    if nice <= 0:
        return
    lower = min(19, os.getpriority(os.PRIO_PROCESS, 0) + nice)
    with contextlib.suppress(OSError):  # it has ended already, or this kernel has no such groups
        os.setpriority(os.PRIO_PROCESS, pid, lower)
        Path(f"/proc/{pid}/autogroup").write_text(str(lower))


def environment(datasets_dir: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in INHERITED or name.startswith(INHERITED_PREFIXES)
    }
    pretrained_dir = Path(os.environ.get("FUSEBOX_PRETRAINED_DIR") or datasets_dir.parent / "pretrained")
    folders = {"FUSEBOX_DATASETS_DIR": datasets_dir, "FUSEBOX_PRETRAINED_DIR": pretrained_dir}
    return {**kept, **{name: str(each.resolve()) for name, each in folders.items()}, "PYTHONUNBUFFERED": "1"}


def kill_leftover(pid: int, started: float) -> None:
    """Makes sure that a runner of an earlier attempt on this machine is gone; another process of its id is spared."""
    while started_at(pid) == started:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.02)


def started_at(pid: int) -> float | None:
    """When the process began, in clock ticks since boot; None when there is none, or only its corpse."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    state, ticks = fields[0], fields[19]
    return None if state in "ZX" else float(ticks)
