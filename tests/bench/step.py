"""A whole training step of InfMasking: forward, backward and optimizer, ours against the published arithmetic.

Same encoders, same weights, same batch, one thread; CPU time, which other work on the machine disturbs less, as the median
of interleaved repeats. Memory is what a step needs at most beyond what is there before it, each in a process of its own,
in which a step of two samples has been taken before.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from tests.naive_step import as_published, naive_loss
from tests.published import lookup
from training.methods import Batch, Inputs, When, build_method
from training.methods.infmasking import InfMasking
from training.optim import build_optimizer
from training.spec import TrainSpec
from training.spec.presets import PRESETS, merged

SETTINGS = {"trifeatures-synergy": 16, "mimic": 64, "vision-touch-cp": 32, "mosi": 64}
"""Row of the published tables → samples per batch."""
REPEATS = 3
MANY = 64
"""Masked views, beside those of the tables."""
WHEN = When(epoch=49, max_epochs=100)


def measure() -> dict[str, float]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    for row, size in SETTINGS.items():
        ours, naive, more = (Step(row, size, **way) for way in ({}, {"naive": True}, {"n_masks": MANY}))
        times: dict[str, list[float]] = {"ours": [], "naive": [], "ours_T64": []}
        for step in (ours, naive, more):
            step()  # the first step allocates
        for _ in range(REPEATS):
            for name, step in (("ours", ours), ("naive", naive), ("ours_T64", more), ("ours", ours)):
                times[name].append(seconds(step))
        medians = {name: statistics.median(each) for name, each in times.items()}
        key = row.replace("-", "_")
        found |= {f"{key}_{name}_s": value for name, value in medians.items()}
        found[f"{key}_speedup"] = medians["naive"] / medians["ours"]
        found[f"{key}_T64_over_T{ours.n_masks}"] = medians["ours_T64"] / medians["ours"]
        if torch.ops.mkldnn._is_mkldnn_bf16_supported():
            narrow = [median(Step(row, size, bf16=True, n_masks=n)) for n in (None, MANY)]
            found[f"{key}_bf16_s"], found[f"{key}_bf16_T64_s"] = narrow
            found[f"{key}_bf16_speedup"] = medians["naive"] / narrow[0]
        peaks = {naive: peak_bytes(row, size, naive) for naive in (False, True)}
        found |= {
            f"{key}_{name}_mb": peaks[naive] / 1e6 for naive, name in ((False, "ours"), (True, "naive"))
        }
        found[f"{key}_memory_share"] = peaks[False] / peaks[True]
    torch.set_num_threads(threads)
    return found


class Step:
    """A network, its optimizer and a random batch; called, it takes a step."""

    def __init__(
        self, row: str, size: int, *, naive: bool = False, n_masks: int | None = None, bf16: bool = False
    ) -> None:
        changes = {"method": {"n_masks": n_masks}} if n_masks else {}
        spec = TrainSpec.model_validate(
            merged(PRESETS[f"{row}-infmasking"].spec, changes), context={"datasets": lookup}
        )
        torch.manual_seed(0)
        method = build_method(spec, 0)
        assert isinstance(method, InfMasking)
        self._method, self._naive, self._bf16 = method, naive, bf16
        self._optimizer = build_optimizer(method, spec.optim)
        if naive:
            as_published(method).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            for group in self._optimizer.param_groups:
                group["fused"] = None  # torch's own choice
        self._views = [random_inputs(spec, size) for _ in range(2)]
        self.n_masks = method.options.n_masks

    def __call__(self) -> None:
        self._optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            loss = (
                naive_loss(self._method, self._views, WHEN.epoch, WHEN.max_epochs)
                if self._naive
                else self._method(Batch(self._views, {}), WHEN).loss
            )
        loss.backward()
        self._optimizer.step()


def random_inputs(spec: TrainSpec, size: int) -> Inputs:
    shapes = {
        "image": lambda m: (m.channels, m.size, m.size),
        "sequence": lambda m: (m.length, m.features),
        "table": lambda m: (m.features,),
    }
    return {each.name: torch.randn(size, *shapes[each.kind](each)) for each in spec.dataset.modalities}


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def median(work: Callable[[], object]) -> float:
    """Seconds, after a first time that allocates."""
    work()
    return statistics.median(seconds(work) for _ in range(REPEATS))


def peak_bytes(row: str, size: int, naive: bool) -> int:
    """What a step needs at most, above what is there before it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_tell_peak, args=(theirs, row, size, naive))
    process.start()
    peak: int = ours.recv()
    process.join()
    return peak


def _tell_peak(tell: Connection, row: str, size: int, naive: bool) -> None:
    torch.set_num_threads(1)
    Step(row, 2, naive=naive)()  # what libraries take when they are first used is not the step's
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    step = Step(row, size, naive=naive)
    before = _memory("VmRSS")
    step()
    tell.send(_memory("VmHWM") - before)


def _memory(name: str) -> int:
    """VmRSS, what this process holds now, or VmHWM, the most that it ever held, in bytes. getrusage's maximum would be
    that of the process that started this one, where that was greater."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith(f"{name}:")))
