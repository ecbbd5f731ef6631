"""`make bench-serving`: embeddings over HTTP, ours against other people's servers of the same model, in one run.

A vision transformer on 224-pixel images and a text transformer, fused; exported once. Every server has two workers of one
thread each, but the naive one, and gets the same bytes from the same load generator. They take turns, while all others are
stopped, so that what else the machine does falls on all of them. Every answer is compared with the right vectors. Caches are
off, but where a leg says otherwise. Ours refuses what would wait too long, as it does by default; its callers come again when
they were told to.

`BENCH_SECONDS` and `BENCH_REPEATS` make a shorter run, to see whether it gets to its end.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import traceback
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from models_store.manifest import Precision
from models_store.store import ModelStore
from tests.bench.serving import payloads
from tests.bench.serving.anchors.model import WORKERS, Model
from tests.bench.serving.ceiling import Ceiling
from tests.bench.serving.servers import ROOT, Running, environment_of_anchors, running, servers
from tests.training.runs import done, made
from training.spec import ExportSpec, TrainSpec

NAME = "pairs"
SECONDS = float(os.environ.get("BENCH_SECONDS", "2"))
REPEATS = int(os.environ.get("BENCH_REPEATS", "3"))
WARM_S = SECONDS / 4
LEGS = [("pair", 1), ("pair", 16), ("pair", 64), ("image", 16), ("text", 16), ("mixed", 64)]
"""Kind of request, callers."""
BATCH_CALLERS = 2
SHARES = (0.5, 0.8, 1.2)
"""Of what pairs at 16 callers came to just before, sent at a constant rate to ours and to the fastest of the others."""
RATE_REPEATS = 3
WORST = 1e-4
SPEC = {
    "dataset": {"name": "trifeatures", "form": "captions", "image_size": 224, "n_pairs": 64},
    "model": {"dim": 256, "heads": 8, "encoders": {"image": "vit"}},
    "batch_size": 32,
    "epochs": 1,
}


def measure() -> dict[str, float]:
    """A part that fails is told on the way and counted in the end; the others are measured all the same."""
    python = environment_of_anchors(ROOT / "var" / "bench" / "anchors")
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        environment = published(folder)
        os.environ |= environment
        model, small, sent = Model(), Model("int8"), folder / "payloads.json"
        payloads.write(model, NAME, sent)
        bodies = [each["body"] for each in json.loads(sent.read_text())["pair"]]
        pairs, small_pairs = Ceiling(model, bodies), Ceiling(small, bodies)
        wide_pairs = Ceiling(Model(threads=WORKERS), bodies)
        everyone = {
            each.name: stack.enter_context(running(each, environment, folder / f"{each.name}.log"))
            for each in servers(python)
        }
        parts: list[Callable[[], dict[str, float]]] = [
            lambda: repeated(everyone, pairs, small_pairs, sent),
            lambda: beside_ceiling(everyone["fusebox"], pairs, wide_pairs, sent),
            lambda: at_rates(everyone, sent),
            lambda: in_batches(everyone, sent),
            lambda: remembered(environment, folder, sent),
            lambda: {"int8_min_cosine": least_cosine(model)},
            lambda: {f"{name}_mib": one.memory_bytes / 2**20 for name, one in everyone.items()},
        ]
        found: dict[str, float] = {"failed_parts": 0}
        for part in parts:
            try:
                found |= part()
            except Exception:  # noqa: BLE001  what the other parts find is worth ten minutes
                traceback.print_exc()
                found["failed_parts"] += 1
            print(json.dumps(found), file=sys.stderr)
    return found


def repeated(
    everyone: dict[str, Running], pairs: Ceiling, small_pairs: Ceiling, sent: Path
) -> dict[str, float]:
    """Medians, and what is aimed at: the median of each within one repeat, as the machine's speed changes between them."""
    seen = [repeat(everyone, pairs, small_pairs, sent) for _ in range(REPEATS)]
    return {key: statistics.median(each[key] for each in seen) for key in seen[0]} | ratios(seen)


def least_cosine(model: Model) -> float:
    """Of int8's embeddings to those of fp32, as the manifest has it."""
    variant = model.served.manifest.variant("int8")
    assert variant is not None
    assert variant.closeness is not None
    return variant.closeness.min_cosine


def published(folder: Path, precisions: tuple[Precision, ...] = ("fp32", "int8")) -> dict[str, str]:
    """Trains, exports and publishes the model. Returns the environment in which servers find it."""
    os.environ.setdefault("FUSEBOX_DATASETS_DIR", str(folder / "datasets"))
    run = made(folder / "train", TrainSpec.model_validate(SPEC))
    assert done("fit", run) == 0, run.path
    export = made(
        folder / "export", ExportSpec(run=run.path.name, name=NAME, max_score_drop=1, precisions=precisions)
    )
    assert done("export", export) == 0, export.path
    data = folder / "data"
    store = ModelStore(str(data / "models"))
    digest = store.publish(export.export)
    store.name_version(NAME, 1, digest)
    environment = {
        "FUSEBOX_DATA_DIR": str(data),
        "FUSEBOX_INFERENCE_CACHE_BYTES": "0",
        "FUSEBOX_INFERENCE_TOKEN_CACHE_BYTES": "0",
        "BENCH_STORE": str(data / "models"),
        "BENCH_DIGEST": digest,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "BENTOML_DO_NOT_TRACK": "True",
        "OMP_NUM_THREADS": "1",
    }
    subprocess.run(
        [sys.executable, "-m", "service.cli", "migrate"], env={**os.environ, **environment}, check=True
    )
    return environment


def repeat(
    everyone: dict[str, Running], pairs: Ceiling, small_pairs: Ceiling, sent: Path
) -> dict[str, float]:
    """Every leg once: rates, latencies, which share was refused, and CPU milliseconds per request, of each server."""
    found: dict[str, float] = {
        "ceiling_pair_run_per_s": pairs.run(SECONDS).per_s,
        "ceiling_int8_pair_run_per_s": small_pairs.run(SECONDS).per_s,
    }
    for kind, callers in LEGS:
        for name, one in everyone.items():
            before, batches = one.cpu_s, batch_sums(one)
            seen = loaded(one, sent, kind, SECONDS, callers=callers)
            key = f"{name}_{kind}_c{callers}"
            found |= {f"{key}_{each}": seen[each] for each in ("per_s", "p50_ms", "p99_ms", "refused")}
            found[f"{key}_cpu_ms"] = 1e3 * (one.cpu_s - before) / max(1, seen["answers"])
            if name == "fusebox":
                samples, count = (now - then for now, then in zip(batch_sums(one), batches, strict=True))
                found[f"{key}_mean_batch"] = samples / max(1.0, count)
    return found


def batch_sums(one: Running) -> tuple[float, float]:
    """Samples and batches that our server has computed so far; of others nothing is known, of its two processes not at once."""
    if one.server.name != "fusebox":
        return 0.0, 0.0
    metrics = one.url.replace(one.server.path, "/metrics")
    with one.awake(), urllib.request.urlopen(metrics, timeout=30) as answer:
        lines = [
            line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line and line[0] != "#"
        ]
    told = {name: float(value) for name, value in lines}
    return told["fusebox_inference_batch_samples_sum"], told["fusebox_inference_batch_samples_count"]


def beside_ceiling(ours: Running, pairs: Ceiling, wide_pairs: Ceiling, sent: Path) -> dict[str, float]:
    """Ours in turns with the same work without a server, within seconds of each other; medians of the repeats.

    `wide_pairs`: with all threads for a batch, as ours computes one that is alone.
    """
    seen = []
    for _ in range(REPEATS):
        one_ms, wide_ms = pairs.latency_ms(SECONDS / 2), wide_pairs.latency_ms(SECONDS / 2)
        single = loaded(ours, sent, "pair", SECONDS, callers=1)
        one_ms = (one_ms + pairs.latency_ms(SECONDS / 2)) / 2
        wide_ms = (wide_ms + wide_pairs.latency_ms(SECONDS / 2)) / 2
        first, before = pairs.prepare_and_run(SECONDS), ours.cpu_s
        many = loaded(ours, sent, "pair", SECONDS, callers=16)
        cpu_ms = 1e3 * (ours.cpu_s - before) / max(1, many["answers"])
        last = pairs.prepare_and_run(SECONDS)
        seen.append(
            {
                "ceiling_c1_p50_ms": one_ms,
                "c1_p50_above_ceiling_ms": single["p50_ms"] - one_ms,
                "wide_ceiling_c1_p50_ms": wide_ms,
                "c1_p50_above_wide_ceiling_ms": single["p50_ms"] - wide_ms,
                "ceiling_pair_per_s": (first.per_s + last.per_s) / 2,
                "pair_c16_of_ceiling": 2 * many["per_s"] / (first.per_s + last.per_s),
                "pair_c16_cpu_of_ceiling": (first.cpu_ms + last.cpu_ms) / 2 / max(1e-9, cpu_ms),
                "generator_cpu_ms": many["generator_cpu_ms"],
            }
        )
    return {key: statistics.median(each[key] for each in seen) for key in seen[0]}


def ratios(seen: list[dict[str, float]]) -> dict[str, float]:
    """What is aimed at, each within one repeat, as the machine's speed changes between them; the median."""
    wanted = {
        "pair_c16_over_mosec": ("fusebox_pair_c16_per_s", "mosec_pair_c16_per_s"),
        "pair_c16_cpu_over_mosec": ("fusebox_pair_c16_cpu_ms", "mosec_pair_c16_cpu_ms"),
        "int8_over_fp32": ("ceiling_int8_pair_run_per_s", "ceiling_pair_run_per_s"),
        "p99_c64_of_naive": ("fusebox_pair_c64_p99_ms", "naive_pair_c64_p99_ms"),
        "p99_c64_of_plain": ("fusebox_pair_c64_p99_ms", "plain_pair_c64_p99_ms"),
        "text_c16_over_mosec": ("fusebox_text_c16_per_s", "mosec_text_c16_per_s"),
        "two_processes_pair_c16_over_mosec": ("fusebox2_pair_c16_per_s", "mosec_pair_c16_per_s"),
        "two_processes_text_c16_over_mosec": ("fusebox2_text_c16_per_s", "mosec_text_c16_per_s"),
        "mixed_c64_over_mosec": ("fusebox_mixed_c64_per_s", "mosec_mixed_c64_per_s"),
    }
    return {
        name: statistics.median(each[ours] / max(1e-9, each[theirs]) for each in seen)
        for name, (ours, theirs) in wanted.items()
    }


def in_batches(everyone: dict[str, Running], sent: Path) -> dict[str, float]:
    """Samples a second in requests of 32, of those servers that take such requests as one."""
    return {
        f"{name}_batch_samples_per_s": payloads.BATCH
        * loaded(one, sent, "batch", 4 * SECONDS, callers=BATCH_CALLERS)["per_s"]
        for name, one in everyone.items()
    }


def at_rates(everyone: dict[str, Running], sent: Path) -> dict[str, float]:
    """Answers within a second under a constant rate of pairs, as a share of what ours came to at 16 callers just before; the
    same rate for both; medians of the repeats."""
    seen: list[dict[str, float]] = []
    for _ in range(RATE_REPEATS):
        told: dict[str, float] = {}
        for share in SHARES:
            peak = max(1.0, loaded(everyone["fusebox"], sent, "pair", SECONDS, callers=16)["per_s"])
            for name in ("fusebox", "mosec"):
                got = loaded(everyone[name], sent, "pair", 4 * SECONDS, per_s=share * peak)
                key = f"{name}_open_{round(100 * share)}"
                told |= {f"{key}_goodput": got["goodput_per_s"] / peak} | {
                    f"{key}_{each}": got[each] for each in ("p50_ms", "p99_ms", "refused")
                }
        seen.append(told)
    return {key: statistics.median(each[key] for each in seen) for key in seen[0]}


def remembered(environment: dict[str, str], folder: Path, sent: Path) -> dict[str, float]:
    """Latency of pairs that were all sent before, by a server that remembers."""
    ours, *_ = servers(sys.executable)
    remembering = environment | {"FUSEBOX_INFERENCE_CACHE_BYTES": str(2**28)}
    with running(ours, remembering, folder / "remembering.log") as one:
        loaded(one, sent, "pair", 4 * SECONDS, callers=16)
        seen = loaded(one, sent, "pair", SECONDS, callers=1)
    return {"remembered_p50_ms": seen["p50_ms"], "remembered_p99_ms": seen["p99_ms"]}


def loaded(
    one: Running, sent: Path, kind: str, seconds: float, worst: float = WORST, **load: float
) -> dict[str, Any]:
    """What the load generator saw, which is a process on the last of the processors, whose others it leaves alone. worst: how
    far a number of a vector may be from the right one."""
    plan = {
        "url": one.url,
        "payloads": str(sent),
        "kind": kind,
        "wrapped_in": one.server.wrapped_in,
        "warm_s": WARM_S,
        "seconds": seconds,
        "cpus": [max(os.sched_getaffinity(0))],
        **load,
    }
    command = [sys.executable, "-m", "tests.bench.serving.load", json.dumps(plan)]
    with one.awake():
        answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    seen: dict[str, Any] = json.loads(answer)
    print(f"  {one.server.name:9} {kind:6} {load}  {seen}", file=sys.stderr)
    if one.server.name.startswith("fusebox") and seen["statuses"].keys() - {"200", "429"}:
        raise RuntimeError(f"{one.server.name} answered {seen['statuses']}")
    if not seen["worst"] <= worst:
        raise RuntimeError(f"{one.server.name} gave vectors that are {seen['worst']} off")
    return seen
