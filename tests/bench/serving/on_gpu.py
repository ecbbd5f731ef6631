"""Pairs a second on a GPU: `make bench ARGS=serving-gpu`. The model is that of `make bench-serving`, in fp32 and fp16.

*raw* is ONNX Runtime with everything on the device already, inputs too: what no service can reach. *whole* is what it gives
for arrays of the host, batches put together beforehand, the graph in one piece. *host* is the parts, their tokens brought back and sent
again; *served* the same samples as the engine runs them: batches put together, sent, encoded, fused, and vectors brought back. These two and
*whole* are run by as many threads as the engine has. *batched* goes through the engine's queue; the rest is HTTP.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from models_store.manifest import Precision, there_of, tokens_of
from models_store.store import ModelStore
from service.inference import devices
from service.inference.batcher import Batcher
from service.inference.engine import GPU_THREADS, MAX_BATCH_GPU
from service.inference.graphs import SplitGraphs, Vectors, batch_of, widths_of
from service.inference.on_device import DeviceGraphs
from service.inference.prepare import Sample
from tests.bench.serving import NAME, loaded, payloads, published
from tests.bench.serving.anchors.model import Model
from tests.bench.serving.servers import running, servers

SECONDS = float(os.environ.get("BENCH_SECONDS", "0.5"))
REPEATS = 3
SIZES = (1, 8, 16, 32, 64, 128, 256)
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
LEGS = [("pair", 1), ("pair", 16), ("pair", 64), ("batch", 1), ("batch", 8), ("mixed", 64)]
"""Kind of request, callers; over HTTP."""
WORST = {"fp32": 1e-4, "fp16": 1e-2}


def measure() -> dict[str, float]:
    if not devices.on_gpu():
        raise SystemExit("this bench measures a GPU, and none can be used here")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        environment = published(folder, PRECISIONS)
        os.environ |= environment
        found: dict[str, float] = {}
        vectors: dict[Precision, Vectors] = {}
        for precision in PRECISIONS:
            model, sent = Model(precision), folder / f"{precision}.json"
            payloads.write(model, NAME, sent)
            bodies = [each["body"] for each in json.loads(sent.read_text())["pair"]]
            samples = [model.prepared(body)[0] for body in bodies]
            vectors[precision] = model.served.run(samples[:MAX_BATCH_GPU])
            for part in (without_a_server(model, samples), over_http(environment, folder, sent, precision)):
                found |= {f"{precision}_{key}": value for key, value in part.items()}
                print(json.dumps(found), file=sys.stderr)
        return found | fidelity(samples[:MAX_BATCH_GPU], vectors)


def without_a_server(model: Model, samples: list[Sample]) -> dict[str, float]:
    served = model.served
    graphs = served.graphs
    assert isinstance(graphs, DeviceGraphs)
    host = SplitGraphs(graphs.manifest, graphs.encoders, graphs.fusion, graphs.widths, one_by_one=False)
    whole = whole_session() if served.precision == "fp32" else None
    rates: dict[str, list[float]] = {}
    for _ in range(REPEATS):
        for size in SIZES:
            some = samples[:size]
            ways: dict[str, tuple[Callable[[], object], int]] = {
                "raw": (resident(graphs, some), 1),
                "host": (lambda some=some: by_host(host, some), GPU_THREADS),
                "served": (lambda some=some: served.run(some), GPU_THREADS),
            }
            if whole:
                ways["whole"] = (in_one(whole, graphs, some), GPU_THREADS)
            for name, (work, threads) in ways.items():
                rates.setdefault(f"{name}_b{size}_per_s", []).append(size * per_s(work, threads))
        rates.setdefault("batched_per_s", []).append(batched(model, samples))
    found = {key: statistics.median(each) for key, each in rates.items()}
    best = {
        name: max(value for key, value in found.items() if key.startswith(f"{name}_b"))
        for name in ("raw", "whole", "host", "served")
        if f"{name}_b1_per_s" in found
    }
    found |= {f"{name}_best_per_s": value for name, value in best.items()}
    found |= {f"served_of_{name}": best["served"] / best[name] for name in best.keys() - {"served"}}
    found |= {f"batched_of_{name}": found["batched_per_s"] / value for name, value in best.items()}
    return found


def resident(graphs: DeviceGraphs, samples: list[Sample]) -> Callable[[], object]:
    """The parts with their inputs on the device."""
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    feeds = {
        each.name: value(
            batch_of(each, [sample.arrays[each.name] for sample in samples]), graphs.device.name, 0
        )
        for each in graphs.manifest.inputs
    }

    def work() -> object:
        fusion = graphs.fusion.io_binding()
        for name, feed in feeds.items():
            session = graphs.encoders[name]
            binding = session.io_binding()
            binding.bind_ortvalue_input(name, feed)
            for output in (tokens_of(name), there_of(name)):
                binding.bind_output(output, graphs.device.name)
            session.run_with_iobinding(binding)
            for output, made in zip((tokens_of(name), there_of(name)), binding.get_outputs(), strict=True):
                fusion.bind_ortvalue_input(output, made)
        fusion.bind_output(graphs.manifest.output, graphs.device.name)
        graphs.fusion.run_with_iobinding(fusion)
        return fusion.get_outputs()[0].numpy()

    return work


def whole_session() -> onnxruntime.InferenceSession:
    store = ModelStore(os.environ["BENCH_STORE"])
    return devices.session(store.read(os.environ["BENCH_DIGEST"], "model.onnx"), devices.CUDA, 1)


def in_one(
    whole: onnxruntime.InferenceSession, graphs: DeviceGraphs, samples: list[Sample]
) -> Callable[[], object]:
    manifest = graphs.manifest
    feed = {
        each.name: batch_of(each, [sample.arrays[each.name] for sample in samples])
        for each in manifest.inputs
    }
    feed[manifest.presence_input] = np.ones((len(samples), len(manifest.inputs)), bool)
    return lambda: whole.run([manifest.output], feed)


def by_host(graphs: SplitGraphs, samples: list[Sample]) -> Vectors:
    encoded: list[dict[str, Any]] = [{} for _ in samples]
    for each in graphs.manifest.inputs:
        own = graphs.encode(each.name, [sample.arrays[each.name] for sample in samples])
        for arrays, tokens in zip(encoded, own, strict=True):
            arrays[each.name] = tokens
    return graphs.fuse(encoded)


def per_s(work: Callable[[], object], threads: int) -> float:
    """By so many threads at once, after a first time that allocates."""
    work()
    done, until = [0] * threads, time.perf_counter() + SECONDS

    def loop(thread: int) -> None:
        while time.perf_counter() < until:
            work()
            done[thread] += 1

    each = [threading.Thread(target=loop, args=(place,)) for place in range(threads)]
    began = time.perf_counter()
    for one in each:
        one.start()
    for one in each:
        one.join()
    return sum(done) / (time.perf_counter() - began)


def batched(model: Model, samples: list[Sample]) -> float:
    """Through the engine's queue, with four batches waiting at any time."""
    batcher = Batcher(GPU_THREADS, MAX_BATCH_GPU)
    gate, done, turns = threading.Semaphore(4 * MAX_BATCH_GPU), count(), count()
    try:
        began = time.perf_counter()
        while (now := time.perf_counter()) < began + 2 * SECONDS:
            gate.acquire()
            (vector,) = batcher.submit(model.served, [samples[next(turns) % len(samples)]])
            vector.add_done_callback(lambda _: (next(done), gate.release()))
        return next(done) / (now - began)
    finally:
        batcher.stop()


def over_http(
    environment: dict[str, str], folder: Path, sent: Path, precision: Precision
) -> dict[str, float]:
    ours, *_ = servers(sys.executable)
    found: dict[str, float] = {}
    with running(ours, environment, folder / f"server-{precision}.log") as one:
        for kind, callers in LEGS:
            seen = loaded(one, sent, kind, 4 * SECONDS, worst=WORST[precision], callers=callers)
            key = f"http_{kind}_c{callers}"
            found[f"{key}_pairs_per_s"] = seen["per_s"] * (payloads.BATCH if kind == "batch" else 1)
            found |= {f"{key}_{each}": seen[each] for each in ("p50_ms", "p99_ms", "refused")}
    return found


def fidelity(samples: list[Sample], vectors: dict[Precision, Vectors]) -> dict[str, float]:
    """How far the GPU's vectors are from those of the CPU in fp32."""
    expected = by_cpu(samples)
    lengths = np.linalg.norm(expected, axis=1)
    found: dict[str, float] = {}
    for precision, got in vectors.items():
        cosines = (got * expected).sum(1) / lengths / np.linalg.norm(got, axis=1)
        found[f"{precision}_max_abs_diff"] = float(np.abs(got - expected).max())
        found[f"{precision}_min_cosine"] = float(cosines.min())
    return found


def by_cpu(samples: list[Sample]) -> Vectors:
    store, digest = ModelStore(os.environ["BENCH_STORE"]), os.environ["BENCH_DIGEST"]
    manifest = store.manifest(digest)
    variant = manifest.variant("fp32")
    assert variant is not None
    threads = len(os.sched_getaffinity(0))

    def session(file: str) -> onnxruntime.InferenceSession:
        return devices.session(store.read(digest, file), devices.CPU, threads)

    fusion = session(variant.fusion)
    encoders = {name: session(file) for name, file in variant.encoders.items()}
    return by_host(SplitGraphs(manifest, encoders, fusion, widths_of(manifest, fusion), False), samples)
