"""What a runner printed: the end of its log, which may be long and is written while it is read."""

from __future__ import annotations

import os
from pathlib import Path


def tail(path: Path, n_bytes: int) -> str:
    """The last `n_bytes` of the file, from the start of a line on; empty while there is no file.

    A line that is longer than that comes without its beginning. What is not UTF-8 is replaced.
    """
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - n_bytes)
            file.seek(max(0, start - 1))
            content = file.read(n_bytes + min(start, 1))
    except FileNotFoundError:
        return ""
    if start:  # one byte more was read: it says whether a line starts after it
        before, newline, rest = content.partition(b"\n")
        content = rest if newline and rest else before[1:] + newline
    return content.decode("utf-8", "replace")
