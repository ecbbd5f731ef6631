"""Bounds on what reading a file may take, so that one made to exhaust the machine only ends the process that reads it."""

from __future__ import annotations

import resource
from pathlib import Path

PAGE = resource.getpagesize()
BASE_BYTES, PER_BYTE = 4 * 2**30, 4
"""Memory: for the reading itself, and for each byte of a file that is read whole, which becomes arrays, then others."""
MOST_WHOLE_BYTES = 2**30
"""Of a file that is read piece by piece, no more than so much counts as read whole."""
BASE_S, PER_GIB_S = 3600, 3600
"""CPU time, for all files together."""


def limit_this_process(path: Path, *, piecewise: bool) -> None:
    """As much as the files at `path` can need and no more. What is in memory already does not count.

    `piecewise`: no file is read whole, however large it is.
    """
    largest, total = sizes(path)
    largest = min(largest, MOST_WHOLE_BYTES) if piecewise else largest
    present = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
    _lower(resource.RLIMIT_AS, present + BASE_BYTES + PER_BYTE * largest)
    _lower(resource.RLIMIT_CPU, BASE_S + PER_GIB_S * total // 2**30)
    _lower(resource.RLIMIT_CORE, 0)


def sizes(path: Path) -> tuple[int, int]:
    """Bytes of the largest file and of all."""
    files = [path] if path.is_file() else path.rglob("*")
    sizes = [file.stat().st_size for file in files if file.is_file()]
    return max(sizes, default=0), sum(sizes)


def _lower(what: int, limit: int) -> None:
    _, hard = resource.getrlimit(what)
    allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(what, (allowed, allowed))
