"""A load on an embedding server, as a process of its own: `python -m tests.bench.serving.load PLAN`, JSON in and out.

Closed: so many callers, each sending its next request when it has its answer, or, having been sent away, when it was told to
come again. Open: requests at a constant rate, whether or
not earlier ones were answered; a latency then counts from when the request was due. Every answer's vector is compared with
the right one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import numpy as np

PATIENCE_S = 30.0
GOOD_S = 1.0
"""An answer that comes later is of no use to whoever waits for it, at least under an open load."""


class Answered(NamedTuple):
    due: float
    at: float
    status: str
    """Or the class of what went wrong."""
    off: float
    """Largest difference in any number of any vector from the right ones."""


@dataclass
class Load:
    """`bodies` in turn, sent to `url`; of each, the right vectors."""

    session: aiohttp.ClientSession
    url: str
    bodies: list[bytes]
    vectors: list[list[Any]]
    answered: list[Answered] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.turns = count()

    async def request(self, due: float) -> float:
        """Returns for how many seconds the caller was sent away."""
        away_s = 0.0
        turn = next(self.turns) % len(self.bodies)
        try:
            async with self.session.post(self.url, data=self.bodies[turn]) as answer:
                content, status = await answer.read(), str(answer.status)
                away_s = float(answer.headers.get("Retry-After", 0))
        except (aiohttp.ClientError, TimeoutError) as error:
            content, status = b"", type(error).__name__
        at = time.perf_counter()
        off = worst(content, self.vectors[turn]) if status == "200" else 0.0
        self.answered.append(Answered(due, at, status, off))
        return away_s


def worst(content: bytes, expected: list[Any]) -> float:
    told = json.loads(content)
    data = (told[0] if isinstance(told, list) else told)["data"]
    got = [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in data]
    return float(np.abs(np.stack(got) - np.asarray(expected)).max())


async def closed(load: Load, callers: int, until: float) -> None:
    async def caller() -> None:
        while (now := time.perf_counter()) < until:
            await asyncio.sleep(await load.request(now))

    await asyncio.gather(*(caller() for _ in range(callers)))


async def opened(load: Load, per_s: float, until: float) -> None:
    began, sent = time.perf_counter(), []
    for number in count():
        due = began + number / per_s
        if due >= until:
            break
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        sent.append(asyncio.create_task(load.request(due)))
    await asyncio.gather(*sent)


async def measured(plan: dict[str, Any]) -> dict[str, Any]:
    payloads = json.loads(Path(plan["payloads"]).read_text())[plan["kind"]]
    wrapped = plan["wrapped_in"]  # BentoML wants a list by the name of its parameter, and answers one
    bodies = [
        json.dumps({wrapped: [each["body"]]} if wrapped else each["body"]).encode() for each in payloads
    ]
    vectors = [each["vectors"] for each in payloads]
    timeout = aiohttp.ClientTimeout(PATIENCE_S)
    headers = {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers, connector=connector) as session:
        load = Load(session, plan["url"], bodies, vectors)
        first, cpu_began = time.perf_counter() + plan["warm_s"], time.process_time()
        until = first + plan["seconds"]
        if "callers" in plan:
            await closed(load, plan["callers"], until)
            counted = [each for each in load.answered if first <= each.at < until]
        else:
            await opened(load, plan["per_s"], until)
            counted = [each for each in load.answered if first <= each.due < until]
    return summary(counted, plan["seconds"]) | {
        "worst": max(each.off for each in load.answered),
        "answers": len(load.answered),
        "generator_cpu_ms": 1e3 * (time.process_time() - cpu_began) / max(1, len(load.answered)),
    }


def summary(counted: list[Answered], seconds: float) -> dict[str, Any]:
    """Of the answers within the time that is measured, or to what was due in it."""
    times = np.array([each.at - each.due for each in counted if each.status == "200"] or [np.nan])
    return {
        "per_s": int(np.isfinite(times).sum()) / seconds,
        "goodput_per_s": int((times <= GOOD_S).sum()) / seconds,
        "p50_ms": float(np.percentile(times, 50)) * 1e3,
        "p99_ms": float(np.percentile(times, 99)) * 1e3,
        "refused": sum(each.status != "200" for each in counted) / max(1, len(counted)),
        "statuses": dict(Counter(each.status for each in counted)),
    }


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    os.sched_setaffinity(0, wanted["cpus"])
    print(json.dumps(asyncio.run(measured(wanted))))
