"""Loops over arrays, compiled by numba for the processor they run on, and what was compiled kept for later processes.

What is kept is known by the text of its own file. So all that one file compiles is written there, and what it takes from
elsewhere comes as an argument; who changes OPTIONS empties the folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from numba import njit

log = logging.getLogger(__name__)

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
"""A product and a sum may be one instruction; nothing else is loosened. Nothing is raised for a division by zero."""

compiled = njit(**OPTIONS)
"""As part of what calls it."""


def kept(signature: str) -> Callable[[Callable[..., None]], Any]:
    """Compiled at once for these types, or read: from where NUMBA_CACHE_DIR says, beside its file, or in the user's own cache.
    Where none of them can be written, and where what is kept there is damaged, it is compiled for this process alone."""

    def decorate(function: Callable[..., None]) -> Any:
        try:
            return njit(signature, cache=True, **OPTIONS)(function)
        except Exception as error:  # noqa: BLE001 - no place is a RuntimeError, damage may be anything
            log.warning(
                "%s is compiled again in each process: %s", function.__qualname__, error or type(error)
            )
            return njit(signature, **OPTIONS)(function)

    return decorate
