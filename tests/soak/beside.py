"""How long answers take while the same machine trains, beside how long they take otherwise."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import numpy as np

from service.client import Client
from tests.processes import eventually
from tests.soak.requests import MODEL
from tests.soak.samples import Known

CALLERS = 4
EPOCHS = 10_000
"""More than there is time for."""
TRAINING = {
    "method": "infmasking",
    "dataset": {"name": "digits", "form": "captions", "n_pairs": 1000},
    "model": {"dim": 64, "heads": 4},
    "batch_size": 64,
    "epochs": EPOCHS,
}
START_S = 300


def slowed(url: str, pairs: list[Known], seconds: float) -> dict[str, float]:
    """Milliseconds of the 50th and the 99th percentile: alone, beside a training that has all its threads, alone again."""
    before = asyncio.run(_latencies(url, pairs, seconds))
    with Client(url) as client:
        job = client.submit("train", TRAINING)["id"]
        eventually(lambda: client.job(job)["progress"].get("step", 0) > 0, START_S, every_s=0.5)
        began = client.job(job)["progress"]["step"]
        beside = asyncio.run(_latencies(url, pairs, seconds))
        steps = client.job(job)["progress"]["step"] - began
        client.cancel(job)
        eventually(lambda: client.job(job)["finished_at"], START_S, every_s=0.5)
    after = asyncio.run(_latencies(url, pairs, seconds))
    alone = before + after
    p99, p99_beside = _at(alone, 99), _at(beside, 99)
    return {
        "p50_ms": _at(alone, 50),
        "p99_ms": p99,
        "p50_beside_training_ms": _at(beside, 50),
        "p99_beside_training_ms": p99_beside,
        "p99_beside_training_over_alone": p99_beside / p99,
        "training_steps_per_s": steps / seconds,
    }


async def _latencies(url: str, pairs: list[Known], seconds: float) -> list[float]:
    """In seconds, of callers who each ask for one pair after another."""
    found: list[float] = []
    end = time.monotonic() + seconds
    bodies = [{"model": MODEL, "inputs": [each.values], "encoding_format": "base64"} for each in pairs]
    async with aiohttp.ClientSession(url) as session:

        async def call(number: int) -> None:
            turn = number * len(bodies) // CALLERS
            while (began := time.monotonic()) < end:
                turn += 1
                async with session.post("/v1/embeddings", json=bodies[turn % len(bodies)]) as answer:
                    assert answer.status == 200, await answer.text()
                    await answer.read()
                found.append(time.monotonic() - began)

        await asyncio.gather(*(call(each) for each in range(CALLERS)))
    return found


def _at(latencies: list[float], percent: int) -> float:
    return float(np.percentile(latencies, percent)) * 1000
