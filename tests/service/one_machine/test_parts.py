"""Processes that are kept alive."""

from __future__ import annotations

import subprocess
import time

import pytest

from service.one_machine.parts import Part, Parts, StartError
from tests.processes import eventually


def test_one_that_cannot_be_started_again_at_once_is_tried_until_it_can() -> None:
    outcomes: list[OSError | None] = [None, OSError("no more processes"), OSError("no more processes"), None]

    def launch() -> subprocess.Popen[bytes]:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        return subprocess.Popen(["sleep", "60"])

    part = Part("sleeper", launch, patience_s=5)
    parts = Parts([part])
    parts.start(lambda: "sleeper" in parts.pids)
    try:
        before = parts.pids["sleeper"]
        assert part.process is not None
        part.process.kill()
        eventually(lambda: parts.pids.get("sleeper", before) != before, 20)
        assert outcomes == []
        parts.wait(timeout_s=0)
    finally:
        parts.stop()


def test_one_that_cannot_be_started_at_all_says_why() -> None:
    def launch() -> subprocess.Popen[bytes]:
        raise OSError("no such executable")

    began = time.monotonic()
    with pytest.raises(StartError, match="no such executable"):
        Parts([Part("sleeper", launch, patience_s=5)]).start(lambda: False)
    assert time.monotonic() - began < 10
