"""make soak [ARGS="--seconds 600 --callers 16"]: the last line printed is one JSON object; status 1 when something was wrong."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from models_store.store import ModelStore
from service.client import Client
from service.one_machine.up import LocalService
from tests.processes import eventually
from tests.service.one_machine.test_up import local
from tests.soak.beside import slowed
from tests.soak.load import CLOSE, under_load
from tests.soak.requests import MODEL, MOST_BYTES, Drawn
from tests.soak.samples import Samples
from tests.soak.watch import Seen, Watch

CACHE_BYTES = 100_000
"""So few that most vectors are computed anew, and some are not."""
TRAINING = {
    "dataset": {"name": "digits", "form": "captions", "n_pairs": 256},
    "model": {"dim": 32, "heads": 2},
    "batch_size": 32,
    "epochs": 2,
}
MAY_GROW, MAY_GROW_MIB = 0.02, 4.0
"""From the second third to the last, as a share and in all: an allocator is never quite still."""
MAY_OPEN = 4
"""Files: callers' connections come and go."""
AT_REST_S = 60
OF_THE_TIME = 10
"""The part of the seconds for which each measurement beside a training takes."""
TIMES_SLOWER = 2.0
LINES_SHOWN = 200


def soak(
    folder: Path, seconds: float, callers: int, beside: bool = True, api_processes: int = 1
) -> dict[str, Any]:
    """What was seen; `failures` says what must not be. Of several API processes the first is watched."""
    settings = local(
        folder,
        max_body_bytes=MOST_BYTES,
        inference_cache_bytes=CACHE_BYTES * api_processes,
        inference_token_cache_bytes=CACHE_BYTES * api_processes,
        api_processes=api_processes,
    )
    with LocalService(settings) as service:
        _publish(service.url)
        samples = Samples(ModelStore(settings.models_url), MODEL, settings)
        assets = _uploaded(service.url, samples, folder)
        drawn = Drawn(samples, assets, seed=0)
        print(f"a model is served; {callers} callers for {seconds:.0f} s", file=sys.stderr)
        asyncio.run(under_load(service.url, drawn, callers, min(10.0, seconds / 6)))  # whatever is made once
        begun = _apis(service)
        api = min(begun.items())[1]
        at_rest = Watch(api).look()
        with Watch(api) as watch:
            seen = asyncio.run(under_load(service.url, drawn, callers, seconds))
        left = eventually(lambda: _at_rest(service.url), AT_REST_S, every_s=0.5)
        _, second, last = watch.parts(3)
        found = {
            "seconds": seconds,
            "callers": callers,
            "cpus": len(os.sched_getaffinity(0)),
            "api_processes": api_processes,
            "requests": seen.statuses.total(),
            "requests_per_s": seen.statuses.total() / seconds,
            "callers_who_left": seen.left,
            "statuses": {str(status): count for status, count in sorted(seen.statuses.items())},
            "vectors_compared": seen.vectors,
            "largest_difference": seen.largest_difference,
            "rss_mib": {
                "second_third": second.rss_mib,
                "last_third": last.rss_mib,
                "tenths": [round(each.rss_mib, 1) for each in watch.parts(10)],
            },
            "files": {
                "at_rest": at_rest.files,
                "second_third": second.files,
                "last_third": last.files,
                "after": Watch(api).look().files,
            },
            "ready": left,
            "wrong": seen.wrong,
            "unexpected": seen.unexpected,
        }
        if beside:
            found |= slowed(service.url, samples.pairs, seconds / OF_THE_TIME)
        same = _apis(service) == begun
    found["failures"] = failures(found, second, last) + ([] if same else ["the API was started again"])
    if found["failures"]:
        for log in sorted((settings.data_dir / "logs").glob("api*.log")):
            _show_end(log)
    return found


def failures(found: Mapping[str, Any], second: Seen, last: Seen) -> list[str]:
    said = []
    if found["wrong"]:
        said.append(f"{found['wrong']} answers were not what they should be")
    if any(int(status) >= 500 for status in found["statuses"]):
        said.append(f"statuses {found['statuses']}")
    if not found["vectors_compared"] or not found["largest_difference"] <= CLOSE:
        said.append(f"vectors are off by {found['largest_difference']:g}")
    grown = last.rss_mib - second.rss_mib
    if grown > max(MAY_GROW_MIB, MAY_GROW * second.rss_mib):
        said.append(f"memory has grown by {grown:.1f} MiB")
    if last.files > second.files + MAY_OPEN or found["files"]["after"] > found["files"]["at_rest"] + MAY_OPEN:
        said.append(f"files stay open: {found['files']}")
    if found.get("p99_beside_training_over_alone", 0) > TIMES_SLOWER:
        said.append(
            f"beside a training p99 is {found['p99_beside_training_over_alone']:.1f} times what it is alone"
        )
    return said


def _publish(url: str) -> None:
    """A model with the heads of a probe, by jobs. After two epochs the probe hangs on differences that int8 rounds away."""
    with Client(url) as client:
        training = client.submit("train", TRAINING)["id"]
        probe = client.submit("probe", {"run": training}, after=training)["id"]
        spec = {"run": training, "name": MODEL, "max_score_drop": 1}
        export = client.submit("export", spec, after=training)["id"]
        _assert_succeeds(client, probe)
        _assert_succeeds(client, export)
        client.attach_heads(MODEL, probe)


def _assert_succeeds(client: Client, job: str) -> None:
    ended = eventually(lambda: (now := client.job(job))["finished_at"] and now, 600, every_s=0.5)
    assert ended["state"] == "succeeded", ended


def _uploaded(url: str, samples: Samples, folder: Path) -> list[str]:
    picture = folder / "picture.png"
    with Client(url) as client:
        return [picture.write_bytes(file) and client.upload(picture)["id"] for file in samples.files]


def _apis(service: LocalService) -> dict[str, int]:
    """Process ids of the API by name."""
    return {name: pid for name, pid in service.pids.items() if name.startswith("api")}


def _show_end(log: Path) -> None:
    """What the server wrote last, on standard error: its folder is gone when the soak has ended."""
    lines = log.read_text(errors="replace").splitlines()
    print(f"the end of {log.name}:", *lines[-LINES_SHOWN:], sep="\n", file=sys.stderr)


def _at_rest(url: str) -> str:
    """The state, once nothing waits and nobody is inside any more; empty before."""
    numbers = httpx.get(f"{url}/metrics", timeout=30, trust_env=False).text
    gauges = dict(
        line.split(" ", 1) for line in numbers.splitlines() if line.startswith("fusebox_inference_")
    )
    busy = [float(gauges[f"fusebox_inference_{name}"]) for name in ("waiting", "inside")]
    ready = httpx.get(f"{url}/readyz", timeout=30, trust_env=False).json()["status"]
    return "" if any(busy) else str(ready)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--no-training", action="store_true", help="leave out serving beside a training")
    parser.add_argument("--api-processes", type=int, default=1)
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fusebox-soak-") as folder:
        found = soak(Path(folder), asked.seconds, asked.callers, not asked.no_training, asked.api_processes)
    print(f"{time.monotonic() - began:.0f} s in all", file=sys.stderr)
    print(
        json.dumps(
            {key: round(value, 7) if isinstance(value, float) else value for key, value in found.items()}
        )
    )
    sys.exit(bool(found["failures"]))


if __name__ == "__main__":
    main()
