"""What answers hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from httpx import Response


def vectors(answer: Response) -> np.ndarray[Any, np.dtype[np.float32]]:
    assert answer.status_code == 200, answer.text
    return np.array([each["embedding"] for each in answer.json()["data"]], dtype=np.float32)


def faults(answer: Response) -> list[tuple[str, str]]:
    """Pointer and code of each thing that is wrong with a request."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    return [(each["pointer"], each["code"]) for each in answer.json()["errors"]]
