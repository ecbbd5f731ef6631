"""The run directory: the only interface between the service and a runner.

    RUN_DIR/spec.json              in:  what shall be done
            events.jsonl           out: what happened, one JSON object a line
            train.log              out: what the runner printed
            checkpoints/step_…/    out: weights and training state, see `training.checkpoint`
            export/                out: model.onnx, manifest.json, tokenizer.json
            heads/                 out: the fitted probes of a probe run, see `models_store.heads`
            embeddings/            out: those of a dataset, see `models_store.embeddings`
            lock                   held while a runner works here

A run directory is named after its job, and runs that build on another run find it beside their own. Everything here
can be started, resumed and read by hand: `python -m training fit RUN_DIR`.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from models_store.durable import write_atomically
from training.events import Event, parse

Spec = TypeVar("Spec", bound=BaseModel)

EXIT_OK = 0
EXIT_FAILED = 70
"""The run cannot succeed as specified; trying again would fail again."""
EXIT_INTERRUPTED = 75
"""A signal asked for the end; the state is saved and the same command continues."""


class RunDirBusyError(RuntimeError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"another runner is working in {path}; wait for it to end or stop it")


class RunDir:
    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def spec(self) -> Path:
        return self.path / "spec.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "train.log"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def export(self) -> Path:
        return self.path / "export"

    @property
    def heads(self) -> Path:
        return self.path / "heads"

    @property
    def embeddings(self) -> Path:
        return self.path / "embeddings"

    def sibling(self, name: str) -> RunDir:
        """The run called `name` beside this one. Raises ValueError unless it is a plain name."""
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name):
            raise ValueError(f"not a run name: {name!r}")
        return RunDir(self.path.resolve().parent / name)

    def write_spec(self, spec: BaseModel) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.spec, spec.model_dump_json(indent=2).encode())

    def read_spec(self, kind: type[Spec]) -> Spec:
        """Raises FileNotFoundError or pydantic.ValidationError."""
        return kind.model_validate_json(self.spec.read_bytes())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Two runners in one directory would spoil each other's files. Raises RunDirBusyError."""
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunDirBusyError(self.path) from None
            yield

    def read_events(self) -> Iterator[Event]:
        """All complete lines so far, oldest first."""
        if not self.events.exists():
            return
        with self.events.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield parse(line)


class EventWriter:
    """Appends events; each is on disk for a reader as soon as `write` returns.

    A runner that was killed may have left half a line behind. It is cut off first, so that lines stay whole.
    """

    def __init__(self, run_dir: RunDir) -> None:
        _cut_half_line(run_dir.events)
        self._file = run_dir.events.open("ab", buffering=0)

    def write(self, event: Event) -> None:
        self._file.write(event.model_dump_json().encode() + b"\n")

    def close(self) -> None:
        self._file.close()


def _cut_half_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
