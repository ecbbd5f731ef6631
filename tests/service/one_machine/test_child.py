"""A child process ends with the one that started it, and takes its own children along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from service.one_machine import child
from tests.processes import eventually, is_gone

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"


def started(tmp_path: Path, program: str, **rest: object) -> subprocess.Popen[bytes]:
    """Returns once the program has said `up`."""
    log = tmp_path / "log"
    process = child.start([sys.executable, "-c", program], env={"FOUND": "1"}, log=log, **rest)  # type: ignore[arg-type]
    eventually(lambda: b"up" in log.read_bytes() or process.poll() is not None)
    return process


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\nfrom pathlib import Path\nfrom service.one_machine import child\n"
            f"process = child.start([sys.executable, '-c', {SLEEPER!r}], env={{}}, log=Path({str(tmp_path / 'log')!r}))\n"
            "print(process.pid, flush=True)\ntime.sleep(600)",
        ],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    eventually(lambda: b"up" in (tmp_path / "log").read_bytes())
    parent.kill()
    parent.communicate()
    eventually(lambda: is_gone(pid), 10)


def test_a_child_that_ends_when_asked_is_not_killed(tmp_path: Path) -> None:
    process = started(
        tmp_path,
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\nprint('up', flush=True)\ntime.sleep(600)",
    )
    assert child.stop(process, patience_s=30) == 3


def test_a_child_that_does_not_listen_is_killed_with_its_own_children(tmp_path: Path) -> None:
    process = started(
        tmp_path,
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True)\n"
        "print('up', flush=True)\ntime.sleep(600)",
    )
    grandchild = int((tmp_path / "log").read_bytes().split()[0])
    assert not is_gone(grandchild)
    assert child.stop(process, patience_s=0.2) == -signal.SIGKILL
    eventually(lambda: is_gone(grandchild), 10)


def test_stopping_what_has_ended_tells_how_it_ended(tmp_path: Path) -> None:
    process = started(tmp_path, "raise SystemExit(7)")
    process.wait()
    assert child.stop(process, 1) == 7
    assert child.stop(process, 1) == 7


def test_ctrl_c_in_the_terminal_is_not_for_children(tmp_path: Path) -> None:
    process = started(tmp_path, SLEEPER)
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    child.stop(process, 5)


def test_a_child_has_the_environment_it_was_given_and_nothing_to_read(tmp_path: Path) -> None:
    process = started(
        tmp_path, "import os, sys; print(sorted(os.environ), repr(sys.stdin.read()), 'up', flush=True)"
    )
    process.wait(30)
    names, _, rest = (tmp_path / "log").read_text().partition("] ")
    assert "'FOUND'" in names
    assert "'PATH'" not in names
    assert rest == "'' up\n"


def test_only_the_files_that_are_named_pass_to_a_child(tmp_path: Path) -> None:
    named, other = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)
    process = started(tmp_path, SLEEPER, pass_fds=(named,))
    assert {int(each.name) for each in Path(f"/proc/{process.pid}/fd").iterdir()} == {0, 1, 2, named}
    child.stop(process, 5)
    os.close(named)
    os.close(other)


def test_output_is_added_to_the_log_of_earlier_children(tmp_path: Path) -> None:
    for word in ("one", "two"):
        started(tmp_path, f"import sys; print({word!r}); print('err', file=sys.stderr)").wait(30)
    assert (tmp_path / "log").read_text().count("err") == 2
    assert (tmp_path / "log").read_text().index("one") < (tmp_path / "log").read_text().index("two")


def test_no_test_has_left_a_child_behind() -> None:
    assert not [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE and "time.sleep(600)" in " ".join(each.cmdline())]  # fmt: skip
