"""Views: how many a second ours makes against Pillow, one image after the other; and what of a step waits for data.

The same Trifeatures, the same numbers drawn, from bytes to what the network takes, one thread; CPU time, which other work on
the machine disturbs less, as the median of interleaved repeats. Where there is a GPU, ours is also timed there, by the clock.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.bench.step import seconds
from tests.plain_views import normalised, plain_views
from training.data import Augmenter, load, simclr
from training.data.samples import IMAGENET
from training.data.simclr_drawn import drawn
from training.methods import Batch, When, build_method
from training.optim import build_optimizer
from training.spec import TrainSpec

BATCH, REPEATS, STEPS = 64, 7, 12
SIZES = (64, 224)
DATASETS = {
    "digits": {"name": "digits", "n_pairs": 1000},
    "trifeatures_64": {"name": "trifeatures", "n_pairs": 1000, "image_size": 64},
}
MODEL = {"dim": 64, "heads": 4}


def measure() -> dict[str, float]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            found |= {f"{name}_{size}": value for name, value in views_per_s(size, Path(folder)).items()}
        for name, dataset in DATASETS.items():
            found |= {f"{name}_{key}": value for key, value in waiting(dataset, Path(folder)).items()}
    torch.set_num_threads(threads)
    return found


def views_per_s(size: int, cache: Path) -> dict[str, float]:
    """Views of single images per second, and how many times as many ours are."""
    spec = TrainSpec.model_validate({"dataset": DATASETS["trifeatures_64"] | {"image_size": size}})
    pixels = load(spec.dataset, cache).train.batch(torch.arange(BATCH))["image1"]
    pictures = [Image.fromarray(each.permute(1, 2, 0).numpy()) for each in pixels]
    mean, std = (np.array(each, np.float32) for each in IMAGENET)
    what = drawn(pixels)

    def ours() -> None:
        simclr.applied(pixels, what, IMAGENET)

    def plain() -> None:
        torch.from_numpy(np.stack([normalised(each, mean, std) for each in plain_views(pictures, what)]))

    rates = {name: BATCH / median for name, median in interleaved({"ours": ours, "plain": plain}).items()}
    found = {f"{name}_per_s": rate for name, rate in rates.items()} | {
        "ratio": rates["ours"] / rates["plain"]
    }
    if torch.cuda.is_available():
        found["gpu_per_s"] = on_gpu(pixels)
        found["gpu_ratio"] = found["gpu_per_s"] / rates["plain"]
    return found


def on_gpu(pixels: torch.Tensor) -> float:
    """Views per second of large batches, drawing included."""
    batch = pixels.cuda().repeat(8, 1, 1, 1)
    for repeat in range(2 * REPEATS):
        if repeat == REPEATS:
            torch.cuda.synchronize()
            start = time.perf_counter()
        simclr.view(batch, IMAGENET)
    torch.cuda.synchronize()
    return REPEATS * len(batch) / (time.perf_counter() - start)


def interleaved(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median CPU seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()  # the first allocates
    for _ in range(REPEATS):
        for name, work in works.items():
            times[name].append(seconds(work))
    return {name: statistics.median(each) for name, each in times.items()}


def waiting(dataset: dict[str, object], cache: Path) -> dict[str, float]:
    """Of the time of a training step of InfMasking: to fetch its samples, which a step waits for, and to make their views."""
    spec = TrainSpec.model_validate({"dataset": dataset, "model": MODEL, "batch_size": BATCH})
    data = load(spec.dataset, cache)
    augment = Augmenter(spec.dataset, data)
    method = build_method(spec, 0)
    optimizer = build_optimizer(method, spec.optim)
    times: dict[str, list[float]] = {"fetch": [], "views": [], "rest": []}
    for _ in range(STEPS):
        rows = torch.randint(len(data.train), (BATCH,))
        start = time.process_time()
        raw = data.train.batch(rows)
        fetched = time.process_time()
        views = [augment(raw), augment(raw)]
        made = time.process_time()
        optimizer.zero_grad()
        method(Batch(views, {}), When(0, 1)).loss.backward()
        optimizer.step()
        ended = time.process_time()
        for name, took in zip(times, (fetched - start, made - fetched, ended - made), strict=True):
            times[name].append(took)
    medians = {name: statistics.median(each[1:]) for name, each in times.items()}
    whole = sum(medians.values())
    return {
        "step_ms": 1e3 * whole,
        "fetch_share": medians["fetch"] / whole,
        "views_share": medians["views"] / whole,
    }
