"""Waiting for what other processes do, and making sure that they are gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import psutil

Found = TypeVar("Found")


def eventually(look: Callable[[], Found], patience_s: float = 30, every_s: float = 0.05) -> Found:
    """What `look` finds, as soon as that is true. Raises AssertionError when patience ends first."""
    deadline = time.monotonic() + patience_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {patience_s:g} s in vain"
        time.sleep(every_s)
    return found


def is_gone(pid: int) -> bool:
    """A zombie is gone too: it only waits for somebody to read its exit status."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
