"""Processes that do not outlive the one that started them, however suddenly it dies. Linux only.

Each child is the leader of its own session, so that Ctrl-C in a terminal reaches the starting process alone and it
can stop its children in order.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
# Looked up here because a forked child may do no more than call it.
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def start(
    argv: Sequence[str], *, env: Mapping[str, str], log: Path | None, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Starts `argv`, its output appended to `log`; None: it writes where this process does. It gets SIGTERM when the thread
    that called this ends."""
    parent = os.getpid()

    def before_exec() -> None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the kernel was told
            os._exit(1)

    with contextlib.ExitStack() as opened:
        output = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            output = opened.enter_context(log.open("ab"))
        return subprocess.Popen(
            list(argv),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=before_exec,
            pass_fds=tuple(pass_fds),
        )


def stop(process: subprocess.Popen[bytes], patience_s: float) -> int:
    """Asks it to end, waits `patience_s`, then kills its whole session. Returns its exit status."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
