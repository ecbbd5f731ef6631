"""The states of a job."""

from __future__ import annotations

STATES = ("queued", "starting", "running", "cancelling", "interrupted", "succeeded", "failed", "cancelled")
ACTIVE = ("starting", "running", "cancelling")
"""In which a worker holds the job's lease."""
TERMINAL = ("succeeded", "failed", "cancelled")
