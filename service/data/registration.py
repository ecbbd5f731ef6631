"""A `python -m training.registration` process at work on the files of a dataset.

It reads what nobody has checked yet, so it gets a process group of its own, none of our secrets, and bounds on memory and
time that it sets itself. It dies with the thread that started it. Linux only.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from service.worker.runner import environment
from training.events import Event, parse
from training.spec.registration import Options

READ_BYTES = 1 << 16
# Arithmetic on many threads, and allocators that reserve much, would take memory that its bounds do not foresee.
FRUGAL = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}


class Registration:
    """Started at once; to be used in a `with`, after which nothing of it is left.

    log: where the process's complaints go; by default where ours do.
    """

    def __init__(
        self,
        made_from: str,
        path: Path,
        datasets_dir: Path,
        options: Options,
        log: IO[bytes] | None = None,
    ) -> None:
        # -P: what lies where somebody happens to stand is never imported.
        command = [sys.executable, "-P", "-m", "training.registration", made_from]
        said = options.model_dump_json(exclude_unset=True)
        self._process = subprocess.Popen(
            [*command, str(path.resolve()), str(datasets_dir.resolve()), "--options", said,
             "--die-with-parent", str(os.getpid())],
            env=environment(datasets_dir) | FRUGAL,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )  # fmt: skip

    def events(self, patience_s: float) -> Iterator[Event | None]:
        """What it says, until it ends; None whenever it has said nothing for `patience_s`."""
        output = self._process.stdout
        assert output is not None
        waiting = b""
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while True:
                if not selector.select(patience_s):
                    yield None
                    continue
                content = os.read(output.fileno(), READ_BYTES)
                *lines, waiting = (waiting + content).split(b"\n")
                yield from map(parse, lines)
                if not content:
                    return

    def exit_code(self) -> int:
        """Waits for its end; negative: the signal that ended it."""
        return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
