"""API keys that were good a moment ago, so that a request with one of them asks no database and no thread.

A key is remembered by its SHA-256, which says nothing to whoever measures how long a look takes, for a few seconds
(`FUSEBOX_API_KEY_CACHE_S`) and never beyond its own end. What this process revokes it forgets as soon as that is
committed; what others revoke works on until the time is over. Wrong keys are not remembered: each costs a look.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass

from service.access import auth
from service.access.auth import MOST_CHARS, Principal
from service.db import Sessions
from service.tables import utc_now

MOST_KEYS = 1024
"""Of more, the one that was looked up the longest ago is forgotten."""


@dataclass(frozen=True)
class _Good:
    granted: auth.Granted
    until: float
    """On the monotonic clock."""
    revocations: int
    """That there had been when it was looked up."""


class Keyring:
    """May be used from any thread."""

    def __init__(self, sessions: Sessions, keep_s: float) -> None:
        self._sessions = sessions
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._good: dict[bytes, _Good] = {}

    def remembered(self, key: str) -> Principal | None:
        """Whose key it is, where that was asked a moment ago. Takes microseconds."""
        if len(key) > MOST_CHARS or not self._good:
            return None
        good = self._good.get(_sha256(key))
        if good is None or good.until <= time.monotonic() or good.revocations != auth.revocations():
            return None
        ends = good.granted.expires_at
        return None if ends is not None and ends <= utc_now() else good.granted.principal

    def principal_of(self, key: str) -> Principal:
        """Asks the database. Raises UnauthorizedError unless `key` is a valid API key."""
        revocations = auth.revocations()  # before the look: what is revoked meanwhile is looked up again
        granted = auth.granted(key, self._sessions)
        if self._keep_s:
            with self._lock:
                sha256 = _sha256(key)
                self._good.pop(sha256, None)
                self._good[sha256] = _Good(granted, time.monotonic() + self._keep_s, revocations)
                if len(self._good) > MOST_KEYS:
                    del self._good[next(iter(self._good))]
        return granted.principal


def _sha256(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
