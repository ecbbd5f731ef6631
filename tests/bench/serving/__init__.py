"""`make bench-serving`: embeddings over HTTP, ours against other people's servers of the same model, in one run.

A vision transformer on 224-pixel images and a text transformer, fused; exported once. Every server has two workers of one
thread each and gets the same bytes from the same load generator; they take turns, so that what else the machine does falls
on all of them. Every answer is compared with the right vectors. Caches are off, but where a leg says otherwise.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from models_store.store import ModelStore
from tests.bench.serving import ceiling, payloads
from tests.bench.serving.anchors.model import Model
from tests.bench.serving.servers import ROOT, Running, environment_of_anchors, running, servers
from tests.training.runs import done, made
from training.spec import ExportSpec, TrainSpec

NAME = "pairs"
WARM_S, SECONDS, REPEATS = 0.5, 2.0, 3
LEGS = [("pair", 1), ("pair", 16), ("pair", 64), ("image", 16), ("text", 16), ("mixed", 64)]
"""Kind of request, callers."""
BATCH_CALLERS, BATCH_SECONDS = 2, 8.0
SHARES = (0.5, 0.8, 1.2)
"""Of what pairs at 16 callers came to, sent at a constant rate to ours and to the fastest of the others."""
WORST = 1e-4
SPEC = {
    "dataset": {"name": "trifeatures", "form": "captions", "image_size": 224, "n_pairs": 64},
    "model": {"dim": 256, "heads": 8, "encoders": {"image": "vit"}},
    "batch_size": 32,
    "epochs": 1,
}


def measure() -> dict[str, float]:
    python = environment_of_anchors(ROOT / "var" / "bench" / "anchors")
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        environment = published(folder)
        os.environ |= environment
        model, small, sent = Model(), Model("int8"), folder / "payloads.json"
        payloads.write(model, NAME, sent)
        everyone = {
            each.name: stack.enter_context(running(each, environment, folder / f"{each.name}.log"))
            for each in servers(python)
        }
        seen = [repeat(everyone, model, small, sent) for _ in range(REPEATS)]
        found = {key: statistics.median(each[key] for each in seen) for key in seen[0]}
        found |= ratios(seen)
        found |= in_batches(everyone, sent)
        found |= at_rates(everyone, sent, found["fusebox_pair_c16_per_s"])
        found |= remembered(environment, folder, sent)
        found["int8_min_cosine"] = least_cosine(model)
        found |= {f"{name}_mib": one.memory_bytes / 2**20 for name, one in everyone.items()}
    return found


def least_cosine(model: Model) -> float:
    """Of int8's embeddings to those of fp32, as the manifest has it."""
    variant = model.served.manifest.variant("int8")
    assert variant is not None
    assert variant.closeness is not None
    return variant.closeness.min_cosine


def published(folder: Path) -> dict[str, str]:
    """Trains, exports and publishes the model. Returns the environment in which servers find it."""
    os.environ.setdefault("FUSEBOX_DATASETS_DIR", str(folder / "datasets"))
    run = made(folder / "train", TrainSpec.model_validate(SPEC))
    assert done("fit", run) == 0, run.path
    export = made(folder / "export", ExportSpec(run=run.path.name, name=NAME))
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
        "PYTHONPATH": str(ROOT),
        "BENTOML_DO_NOT_TRACK": "True",
        "OMP_NUM_THREADS": "1",
    }
    subprocess.run(
        [sys.executable, "-m", "service.cli", "migrate"], env={**os.environ, **environment}, check=True
    )
    return environment


def repeat(everyone: dict[str, Running], model: Model, small: Model, sent: Path) -> dict[str, float]:
    """Every leg once: rates, latencies, and CPU milliseconds per request, of each server; and what there is without one."""
    found: dict[str, float] = {}
    bodies = {kind: [each["body"] for each in all_] for kind, all_ in json.loads(sent.read_text()).items()}
    for kind in ("pair", "image", "text"):
        rates = ceiling.per_s(model, bodies[kind], SECONDS / 4)
        found |= {f"ceiling_{kind}_{name}_per_s": rate for name, rate in rates.items()}
    rates = ceiling.per_s(small, bodies["pair"], SECONDS / 4)
    found |= {f"ceiling_int8_pair_{name}_per_s": rate for name, rate in rates.items()}
    for kind, callers in LEGS:
        for name, one in everyone.items():
            before = one.cpu_s
            seen = loaded(one, sent, kind, SECONDS, callers=callers)
            key = f"{name}_{kind}_c{callers}"
            found |= {f"{key}_{each}": seen[each] for each in ("per_s", "p50_ms", "p99_ms")}
            found[f"{key}_cpu_ms"] = 1e3 * (one.cpu_s - before) / max(1, seen["answers"])
    return found


def ratios(seen: list[dict[str, float]]) -> dict[str, float]:
    """What is aimed at, each within one repeat, as the machine's speed changes between them; the median."""
    wanted = {
        "pair_c16_over_mosec": ("fusebox_pair_c16_per_s", "mosec_pair_c16_per_s"),
        "pair_c16_of_ceiling": ("fusebox_pair_c16_per_s", "ceiling_pair_prepare_and_run_per_s"),
        "pair_c16_of_run_alone": ("fusebox_pair_c16_per_s", "ceiling_pair_run_per_s"),
        "pair_c16_cpu_over_mosec": ("fusebox_pair_c16_cpu_ms", "mosec_pair_c16_cpu_ms"),
        "int8_over_fp32": ("ceiling_int8_pair_run_per_s", "ceiling_pair_run_per_s"),
        "p99_c64_of_naive": ("fusebox_pair_c64_p99_ms", "naive_pair_c64_p99_ms"),
        "mixed_c64_over_mosec": ("fusebox_mixed_c64_per_s", "mosec_mixed_c64_per_s"),
    }
    return {
        name: statistics.median(each[ours] / each[theirs] for each in seen)
        for name, (ours, theirs) in wanted.items()
    }


def in_batches(everyone: dict[str, Running], sent: Path) -> dict[str, float]:
    """Samples a second in requests of 32, of those servers that take such requests as one."""
    return {
        f"{name}_batch_samples_per_s": payloads.BATCH
        * loaded(one, sent, "batch", BATCH_SECONDS, callers=BATCH_CALLERS)["per_s"]
        for name, one in everyone.items()
    }


def at_rates(everyone: dict[str, Running], sent: Path, capacity: float) -> dict[str, float]:
    """Goodput and latencies under a constant rate of pairs, the same for both."""
    told: dict[str, float] = {}
    for name in ("fusebox", "mosec"):
        for share in SHARES:
            seen = loaded(everyone[name], sent, "pair", 2 * SECONDS, per_s=share * capacity)
            key = f"{name}_open_{round(100 * share)}"
            told |= {
                f"{key}_goodput": seen["goodput_per_s"] / capacity,
                f"{key}_p50_ms": seen["p50_ms"],
                f"{key}_p99_ms": seen["p99_ms"],
            }
    return told


def remembered(environment: dict[str, str], folder: Path, sent: Path) -> dict[str, float]:
    """Latency of pairs that were all sent before, by a server that remembers."""
    ours, *_ = servers(sys.executable)
    remembering = environment | {"FUSEBOX_INFERENCE_CACHE_BYTES": str(2**28)}
    with running(ours, remembering, folder / "remembering.log") as one:
        loaded(one, sent, "pair", 4 * SECONDS, callers=16)
        seen = loaded(one, sent, "pair", SECONDS, callers=1)
    return {"remembered_p50_ms": seen["p50_ms"], "remembered_p99_ms": seen["p99_ms"]}


def loaded(one: Running, sent: Path, kind: str, seconds: float, **load: float) -> dict[str, Any]:
    """What the load generator saw, which is a process on the last of the processors, whose others it leaves alone."""
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
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    seen: dict[str, Any] = json.loads(answer)
    print(f"  {one.server.name:9} {kind:6} {load}  {seen}", file=sys.stderr)
    unexpected = seen["statuses"].keys() - ({"200", "429"} if "per_s" in load else {"200"})
    if "callers" in load and (unexpected or not seen["statuses"]):
        raise RuntimeError(f"{one.server.name} answered {seen['statuses']}")
    if not seen["worst"] <= WORST:
        raise RuntimeError(f"{one.server.name} gave vectors that are {seen['worst']} off")
    return seen
