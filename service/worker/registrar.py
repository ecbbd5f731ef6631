"""Checks uploaded files and makes datasets of them, one upload after the other, beside the jobs of this worker.

The work itself is done by a process with bounds on its memory and time (`service.data.registration`). Any number of workers
may have a registrar: each upload is claimed by one. One that is asked to end gives its upload back.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.data import upload_claims, upload_files, uploads
from service.data.registration import Registration
from service.data.upload_claims import Claim
from service.db import UNREACHABLE, Sessions
from service.errors import FuseboxError
from service.leases import FencedError
from service.settings import Settings
from service.worker.ticker import Ticker
from training.events import Done, Progress, Unusable
from training.spec.registration import Options, read_registered

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""Between looks whether it shall end, while the process says nothing."""
SHOWN_S = 2.0
"""Between reports of how far it is, at most."""
PIECE_BYTES = 16 * 2**20
FORGET_S = 300
"""Between looks for abandoned uploads."""
KILLED = (
    "the files were not read to their end: they take more time or memory than files of their size can need"
)
BROKE = "checking the files broke off by a mistake on our side; it is in the worker's log"
UNREADABLE = "the server could not read or write its own files meanwhile; upload them again later"
GIVEN_UP = (
    f"workers died {upload_claims.MOST_TRIES} times while they checked these files; they are not tried again"
)
DAMAGED = "what has arrived has not the sha256 that was announced; upload it again"
GONE = "what had arrived is no longer there; upload it again"


class _AskedToEndError(Exception):
    pass


class Registrar(Ticker):
    def __init__(self, sessions: Sessions, settings: Settings, owner: str) -> None:
        super().__init__("registrar", settings.reconcile_s)
        self._sessions = sessions
        self._settings = settings
        self._owner = owner
        self._forgot_at = -math.inf
        self._progress: dict[str, Any] = {}
        self._renewed_at = 0.0

    def tick(self) -> None:
        """All that waits to be checked; now and then, away with what was abandoned."""
        while not self._ended.is_set():
            claim = upload_claims.claim(self._sessions, self._owner, self._settings.lease_s)
            if claim is None:
                break
            self._attend(claim)
        if time.monotonic() - self._forgot_at > FORGET_S:
            uploads.forget_old(self._sessions, self._settings)
            self._forgot_at = time.monotonic()

    def _attend(self, claim: Claim) -> None:
        log.info("checking %s for %r, try %d", claim.upload_id, claim.name, claim.tries)
        self._progress, self._renewed_at = {}, time.monotonic()
        try:
            self._check(claim)
        except _AskedToEndError:
            upload_claims.release(self._sessions, claim)
        except FencedError as error:
            log.warning("%s; the work on it is dropped", error)
        else:  # a dataset or refused: nobody needs the file any more
            upload_files.remove(self._settings, claim.upload_id)

    def _check(self, claim: Claim) -> None:
        """Raises FencedError when it is somebody else's by now; then nothing was written."""
        if claim.tries > upload_claims.MOST_TRIES:
            return upload_claims.refuse(self._sessions, claim, GIVEN_UP)
        path = upload_files.path_of(self._settings, claim.upload_id)
        try:
            if not path.is_file():
                return upload_claims.refuse(self._sessions, claim, GONE)
            if claim.sha256 not in (None, self._sha256(claim, path)):
                return upload_claims.refuse(self._sessions, claim, DAMAGED)
            return self._register(claim, path)
        except (OSError, ValidationError):
            log.exception("checking %s broke", claim.upload_id)
            return upload_claims.refuse(self._sessions, claim, BROKE)

    def _sha256(self, claim: Claim, path: Path) -> str:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
                self._keep(claim)
        return digest.hexdigest()

    def _register(self, claim: Claim, path: Path) -> None:
        unusable: list[dict[str, Any]] = []
        done: Done | None = None
        options = Options.model_validate(claim.options)
        with Registration(claim.format, path, self._settings.datasets_dir, options) as registration:
            for event in registration.events(LOOK_S):
                match event:
                    case Progress():
                        self._progress = event.model_dump(include={"phase", "step", "total"})
                    case Unusable():
                        unusable.append(event.model_dump(include={"reason", "count", "ids"}, mode="json"))
                    case Done():
                        done = event
                self._keep(claim)
            code = registration.exit_code()
        if done is not None and done.outcome == "succeeded":
            return self._finish(claim, done.text)
        return upload_claims.refuse(self._sessions, claim, _reason(claim, done, code), unusable)

    def _keep(self, claim: Claim) -> None:
        """Renews the lease when it is time to. Raises FencedError, or _AskedToEndError."""
        if self._ended.is_set():
            raise _AskedToEndError
        now = time.monotonic()
        if now - self._renewed_at < min(self._settings.heartbeat_s, SHOWN_S):
            return
        try:
            upload_claims.renew(self._sessions, claim, self._settings.lease_s, self._progress)
            self._renewed_at = now
        except UNREACHABLE as error:
            log.warning("the database does not answer (%s); renewing the lease on an upload later", error)

    def _finish(self, claim: Claim, sha256: str) -> None:
        manifest, report = read_registered(self._settings.datasets_dir, sha256)
        try:
            upload_claims.finish(self._sessions, claim, sha256, manifest, report)
        except FuseboxError as error:
            upload_claims.refuse(self._sessions, claim, error.detail)


def _reason(claim: Claim, done: Done | None, code: int) -> str:
    if done is None:
        return KILLED if code < 0 else BROKE
    if done.code == "data_error":
        return done.text
    log.error("%s: %s", claim.upload_id, done.text)
    return UNREADABLE
