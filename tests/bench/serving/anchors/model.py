"""What all servers share: the exported model as Fusebox loads it, its preparation of inputs, and the form of answers."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from models_store.manifest import Precision
from models_store.store import ModelStore
from service.inference.finish import finish
from service.inference.prepare import Given, Sample, prepare
from service.inference.served import load
from service.settings import Settings

WORKERS = 2
MAX_BATCH = 8
WAIT_S = 0.002


class Model:
    """Of the store and the digest that the environment names; with so many threads for a batch."""

    def __init__(self, precision: Precision = "fp32", threads: int = 1) -> None:
        self.settings = Settings()
        store = ModelStore(os.environ["BENCH_STORE"])
        self.served = load(store, os.environ["BENCH_DIGEST"], precision, threads_alone=threads)

    def prepared(self, body: dict[str, Any]) -> list[Sample]:
        """The inputs of a request's body. A bad one is not expected here."""
        made = [
            prepare(Given(values, "/inputs"), self.served.manifest, self.served.tokenizers, self.settings)
            for values in body["inputs"]
        ]
        return [each for each in made if isinstance(each, Sample)]

    def run(self, samples: Sequence[Sample]) -> np.ndarray[Any, Any]:
        """Vectors (B, D) of length 1; more samples than a batch holds are run in several."""
        parts = [samples[at : at + MAX_BATCH] for at in range(0, len(samples), MAX_BATCH)]
        return finish(np.concatenate([self.served.run(each, alone=True) for each in parts]), None, True)


def answer(vectors: Sequence[Any]) -> dict[str, Any]:
    return {
        "data": [{"embedding": base64.b64encode(each.astype("<f4").tobytes()).decode()} for each in vectors]
    }
