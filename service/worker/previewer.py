"""Has previews of datasets made, beside the jobs of this worker: `python -m training.preview`, one after the other.

Of a registered dataset at once, whoever registered it and however. Of those that are always there when this worker has had
no job for a while, and not any longer than until it has one. Where a preview cannot be made, that is logged once; nothing
else depends on it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import select

from service.data import previews
from service.db import Sessions, reading
from service.errors import FuseboxError
from service.settings import Settings
from service.tables import Dataset
from service.worker.runner import environment
from service.worker.ticker import Ticker
from training.spec import DATASETS, DatasetSpec
from training.spec.preview import PREVIEW, always_there, folder_of
from training.spec.registration import MANIFEST, REGISTERED

log = logging.getLogger(__name__)

LOOK_S = 0.25
"""Between looks whether it shall end."""
PATIENCE_S = 900


class Previewer(Ticker):
    def __init__(self, sessions: Sessions, settings: Settings, at_work: Callable[[], bool]) -> None:
        """at_work: whether this worker has a job."""
        super().__init__("previewer", settings.reconcile_s)
        self._sessions = sessions
        self._settings = settings
        self._at_work = at_work
        self._busy_at = time.monotonic()
        self._settled: set[str] = set()
        """Content of registered datasets, and folders of previews, that need not be looked at again."""

    def tick(self) -> None:
        """All previews that are missing here."""
        for spec in self._registered():
            self._make(spec, until=self._ended.is_set)
        if self._at_work():
            self._busy_at = time.monotonic()
        if time.monotonic() - self._busy_at < self._settings.quiet_s:
            return
        for spec in [spec for name in DATASETS for spec in always_there(name)]:
            self._make(spec, until=lambda: self._ended.is_set() or self._at_work())

    def _registered(self) -> Iterator[DatasetSpec]:
        """Those whose files are on this machine."""
        with reading(self._sessions) as session:
            known = session.execute(select(Dataset.id, Dataset.sha256).where(Dataset.sha256.is_not(None)))
            new = [row.id for row in known if row.sha256 not in self._settled and self._is_here(row.sha256)]
        for dataset_id in new:
            with reading(self._sessions) as session:
                row = session.get(Dataset, dataset_id)
                if row is None or row.sha256 is None:
                    continue
                self._settled.add(row.sha256)
                try:
                    spec = previews.shown_of(row)
                except FuseboxError as error:
                    log.warning("no preview: %s", error.detail)
                    continue
            yield spec

    def _is_here(self, sha256: str) -> bool:
        return (self._settings.datasets_dir / REGISTERED / sha256 / MANIFEST).is_file()

    def _make(self, spec: DatasetSpec, until: Callable[[], bool]) -> None:
        """Unless it is there, has failed before, or shall not be made now."""
        folder = folder_of(self._settings.datasets_dir, spec)
        if folder.name in self._settled or until():
            return
        if not (folder / PREVIEW).is_file():
            reason = self._show(spec, until)
            if reason is None:
                return
            if reason:
                log.warning("no preview of %s (%s): %s", spec.name, spec.form, reason)
        self._settled.add(folder.name)

    def _show(self, spec: DatasetSpec, until: Callable[[], bool]) -> str | None:
        """Why it failed, empty when it did not, None when it was broken off."""
        with _started(spec, self._settings.datasets_dir) as process:
            end = time.monotonic() + PATIENCE_S
            while True:
                try:
                    _, said = process.communicate(timeout=LOOK_S)
                except subprocess.TimeoutExpired:
                    if until():
                        return None
                    if time.monotonic() > end:
                        return f"it was not made within {PATIENCE_S} s"
                else:
                    lines = said.decode(errors="replace").strip().splitlines()
                    return "" if process.returncode == 0 else (lines or [f"status {process.returncode}"])[-1]


@contextlib.contextmanager
def _started(spec: DatasetSpec, datasets_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Nothing of it is left afterwards. It dies with the thread that started it."""
    # -P: what lies where somebody happens to stand is never imported.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "training.preview", str(datasets_dir.resolve()), spec.model_dump_json(),
         "--die-with-parent", str(os.getpid())],
        env=environment(datasets_dir),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
