"""Networks that a test can hold, count and predict."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.inference.prepare import Sample


class Doubling:
    """A network that doubles a number. It starts its first batch when told, so that others can gather behind it."""

    precision = "fp32"
    width = 1

    def __init__(self, digest: str = "doubling") -> None:
        self.digest = digest
        self.batches: list[list[float]] = []
        self.alone: list[bool] = []
        """Of each batch, what its network was told."""
        self.begun = threading.Event()
        self.may_go_on = threading.Event()

    def run(self, samples: Sequence[Sample], alone: bool = False) -> NDArray[np.float32]:
        self.alone.append(alone)
        self.begun.set()
        assert self.may_go_on.wait(10)
        numbers = [float(sample.arrays["number"]) for sample in samples]
        self.batches.append(numbers)
        return self.computed(np.array(numbers, dtype=np.float32)[:, None])

    def computed(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        return 2 * numbers


def sample(number: float) -> Sample:
    return Sample({"number": np.float32(number)})  # type: ignore[dict-item]


def samples(*numbers: float) -> list[Sample]:
    return [sample(number) for number in numbers]
