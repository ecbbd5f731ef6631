"""What every kind of run has around it: a lock, events, an ear for signals, and a last word.

A run ends in one of three ways, told by its last event and its exit code: succeeded (0), failed so that trying again
would fail again (70), interrupted with its state saved (75). Whatever else ends the process was not its own decision.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Literal

import torch
from pydantic import ValidationError

from training.deathwatch import is_follower
from training.errors import Interrupted, RunError
from training.events import Done, Event, Message, Progress, Started
from training.run_dir import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EventWriter, RunDir, RunDirBusyError

log = logging.getLogger(__name__)

PROGRESS_EVERY_S = 0.5
Device = Literal["auto", "cpu", "cuda"]
"""As in a TrainSpec."""


@dataclass
class Run:
    """One run at work: where it lives, whom it tells, and whether it has been asked to stop."""

    dir: RunDir
    events: EventWriter | None
    """None: somebody else of the same run tells."""
    stop_asked: bool = False
    _progress_at: float = field(default=0.0, repr=False)
    _progress_step: int = 0
    _rate: float | None = None

    def tell(self, event: Event) -> None:
        if self.events is not None:
            self.events.write(event)

    def say(self, text: str, level: Literal["info", "warning"] = "info") -> None:
        """For people: in the log and as an event."""
        log.info(text)
        self.tell(Message(text=text, level=level))

    def start(self, total_steps: int, device: str, resumed_from_step: int = 0) -> None:
        self._progress_at, self._progress_step = time.monotonic(), resumed_from_step
        self.tell(
            Started(
                total_steps=total_steps,
                resumed_from_step=resumed_from_step,
                device=device,
                code_version=version("fusebox"),
            )
        )

    def progress(self, phase: str, step: int, total: int, epoch: int | None = None) -> None:
        """Told at most twice a second, and always when the last step is done."""
        now = time.monotonic()
        elapsed = now - self._progress_at
        if elapsed < PROGRESS_EVERY_S and step < total:
            return
        rate = (step - self._progress_step) / max(elapsed, 1e-9)
        self._rate = rate if self._rate is None else 0.7 * self._rate + 0.3 * rate
        self._progress_at, self._progress_step = now, step
        self.tell(Progress(phase=phase, step=step, total=total, epoch=epoch, rate=round(self._rate, 3)))

    @property
    def datasets_dir(self) -> Path:
        """Where datasets are kept ready: FUSEBOX_DATASETS_DIR, else beside the folder that holds the runs."""
        default = self.dir.path.resolve().parent.parent / "datasets"
        return Path(os.environ.get("FUSEBOX_DATASETS_DIR") or default)

    def heed_stop(self, step: int) -> None:
        """Raises Interrupted when somebody has asked for the end; for work that has nothing to save."""
        if self.stop_asked:
            raise Interrupted(step)


def run(work: Callable[[Run], int], run_dir: RunDir) -> int:
    """Does the work and says how it ended; returns the exit code. `work` returns the steps it did."""
    try:
        with nullcontext() if is_follower() else run_dir.locked():
            return _run_locked(work, run_dir)
    except RunDirBusyError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except FileNotFoundError:
        sys.stderr.write(f"{run_dir.path} is not a run directory: it needs a spec.json\n")
        return EXIT_FAILED


def use_threads(count: int | None) -> None:
    torch.set_num_threads(count or len(os.sched_getaffinity(0)))


def use_device(asked: Device, *, tf32: bool = False) -> str:
    """The kind of device to compute on: with `auto` a GPU, where there is one.

    On a GPU, products and convolutions are of float32 numbers in full, unless `tf32` has their factors rounded; left to
    itself, cuDNN rounds those of convolutions.
    """
    device = ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked
    if device == "cuda":
        _round_factors("high" if tf32 else "highest", tf32)
    return device


@contextmanager
def in_full_precision() -> Iterator[None]:
    """Within, no factors are rounded, whatever `use_device` was told: a probe is to measure the training, not TF32."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    _round_factors("highest", False)
    try:
        yield
    finally:
        _round_factors(*before)


def _round_factors(products: str, convolutions: bool) -> None:
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions


def _run_locked(work: Callable[[Run], int], run_dir: RunDir) -> int:
    this = Run(run_dir, None if is_follower() else EventWriter(run_dir))

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        this.stop_asked = True  # in a follower too: the processes agree on when it is

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    try:
        done = Done(outcome="succeeded", step=work(this))
        code = EXIT_OK
    except Interrupted as interruption:
        done, code = (
            Done(outcome="interrupted", step=interruption.step, text=str(interruption)),
            EXIT_INTERRUPTED,
        )
    except RunError as error:
        done, code = Done(outcome="failed", step=0, code=error.code, text=str(error)), EXIT_FAILED
    except ValidationError as error:
        text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:10])
        done, code = (
            Done(outcome="failed", step=0, code="invalid_spec", text=f"spec.json: {text}"),
            EXIT_FAILED,
        )
    except torch.OutOfMemoryError as error:
        log.exception("out of memory")
        text = f"the accelerator's memory does not suffice; try a smaller batch_size ({error})"
        done, code = Done(outcome="failed", step=0, code="out_of_memory", text=text), EXIT_FAILED
    except Exception as error:
        log.exception("the run broke")
        done, code = (
            Done(outcome="failed", step=0, code="internal", text=f"{type(error).__name__}: {error}"),
            EXIT_FAILED,
        )
    this.tell(done)
    log.info("%s%s", done.outcome, f": {done.text}" if done.text else "")
    if this.events is not None:
        this.events.close()
    return code
