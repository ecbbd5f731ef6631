"""The process of the HTTP server among others on its CPUs."""

from __future__ import annotations

import os
import threading

import pytest

from service.web.server import interrupt_nobody


def policies() -> list[int]:
    """Of a new thread after `interrupt_nobody`, and of one that it starts."""
    seen: list[int] = []

    def look() -> None:
        seen.append(os.sched_getscheduler(0))

    def run() -> None:
        interrupt_nobody()
        look()
        inner = threading.Thread(target=look)
        inner.start()
        inner.join()

    outer = threading.Thread(target=run)
    outer.start()
    outer.join()
    return seen


def test_it_holds_for_the_calling_thread_and_those_that_it_starts() -> None:
    assert policies() == [os.SCHED_BATCH, os.SCHED_BATCH]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_where_it_is_forbidden_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", forbidden)
    assert policies() == [os.SCHED_OTHER, os.SCHED_OTHER]
