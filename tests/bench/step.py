"""A whole training step of InfMasking: forward, backward and optimizer, ours against the published arithmetic.

Same encoders, same weights, same batch, one thread; CPU time, which other work on the machine disturbs less, as the median
of interleaved repeats. Memory is what a step needs at most beyond what is there before it, each in a process of its own,
in which a step of two samples has been taken before. Where there is a GPU, steps are also taken there and timed by the clock,
in each precision that a training may have, and compiled.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import torch
from torch import Tensor

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

ON_GPU = SETTINGS | {"trifeatures-synergy": 64}
WARM_UP, REPEATS_ON_GPU = 5, 12
"""Steps. A compiled one is compiled when it is first taken, and recorded as a graph when it is taken next."""
WAYS: dict[str, dict[str, Any]] = {
    "ours": {},
    "naive": {"naive": True},
    "ours_T64": {"n_masks": MANY},
    "ours_bf16": {"precision": "bf16"},
    "ours_tf32": {"precision": "tf32"},
    "naive_tf32": {"naive": True, "precision": "tf32"},
}
COMPILED: list[tuple[str, dict[str, dict[str, Any]]]] = [
    *((row, {"ours_compiled": {"compiled": True}}) for row in ON_GPU),
    ("trifeatures-synergy", {"ours_compiled_tf32": {"compiled": True, "precision": "tf32"}}),
]
"""Row → its ways, in the order in which there is time for them."""
COMPILED_WITHIN_S = 45
"""Of the start: compiling takes long, so it comes last, and no further step is compiled when that much has passed."""
RATIOS = {
    "speedup": ("naive_ms", "ours_ms"),
    "tf32_speedup": ("naive_tf32_ms", "ours_tf32_ms"),
    "bf16_speedup": ("naive_ms", "ours_bf16_ms"),
    "compiled_speedup": ("naive_ms", "ours_compiled_ms"),
    "compiled_tf32_speedup": ("naive_tf32_ms", "ours_compiled_tf32_ms"),
    "T64_over_ours": ("ours_T64_ms", "ours_ms"),
    "memory_share": ("ours_mb", "naive_mb"),
}
"""Name → what is divided by what, on a GPU."""
Precision = Literal["32", "tf32", "bf16"]
"""As in a TrainSpec."""
P = ParamSpec("P")
R = TypeVar("R")


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
            narrow = [median(Step(row, size, precision="bf16", n_masks=n)) for n in (None, MANY)]
            found[f"{key}_bf16_s"], found[f"{key}_bf16_T64_s"] = narrow
            found[f"{key}_bf16_speedup"] = medians["naive"] / narrow[0]
        peaks = {naive: peak_bytes(row, size, naive) for naive in (False, True)}
        found |= {
            f"{key}_{name}_mb": peaks[naive] / 1e6 for naive, name in ((False, "ours"), (True, "naive"))
        }
        found[f"{key}_memory_share"] = peaks[False] / peaks[True]
    torch.set_num_threads(threads)
    return found | (measure_on_gpu() if torch.cuda.is_available() else {})


def measure_on_gpu(device: str = "cuda") -> dict[str, float]:
    """Milliseconds, megabytes and ratios, as the names say; what fails is told on stderr, and its names are missing.

    device: "cpu" tries the code where there is no GPU.
    """
    started = time.perf_counter()
    figures = {
        row: milliseconds(row, size, device, WAYS) | megabytes(row, size, device)
        for row, size in ON_GPU.items()
    }
    for row, ways in COMPILED:
        if time.perf_counter() - started < COMPILED_WITHIN_S:
            torch.compiler.reset()  # else a graph for any size is made, after those of two rows
            figures[row] |= milliseconds(row, ON_GPU[row], device, ways)
    for own in figures.values():
        own |= {name: own[a] / own[b] for name, (a, b) in RATIOS.items() if a in own and b in own}
    return {
        f"{row.replace('-', '_')}_gpu_{name}": value
        for row, own in figures.items()
        for name, value in own.items()
    }


def milliseconds(row: str, size: int, device: str, ways: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Medians of interleaved steps of the ways that work. Each step is waited for, as training waits for its loss."""
    steps: dict[str, Step] = {}
    for name, way in ways.items():
        step = attempted(f"{row}, {name}", warmed_up, row, size, device, way)
        if step is not None:
            steps[name] = step
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(REPEATS_ON_GPU):
        for name, step in list(steps.items()):
            took = attempted(f"{row}, {name}", waited, step, device)
            if took is None:
                del steps[name]
            else:
                times[name].append(1e3 * took)
    return {f"{name}_ms": statistics.median(times[name]) for name in steps}


def megabytes(row: str, size: int, device: str) -> dict[str, float]:
    peaks = {
        name: attempted(f"{row}, memory of {name}", peak_mb, row, size, device, WAYS[name])
        for name in ("ours", "naive")
    }
    return {f"{name}_mb": peak for name, peak in peaks.items() if peak is not None}


def peak_mb(row: str, size: int, device: str, way: Mapping[str, Any]) -> float:
    """What a first step needs at most, with gradients and the optimizer's state, above what is there before it."""
    step = Step(row, size, device=device, **way)
    gc.collect()
    synchronize(device)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    synchronize(device)
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def warmed_up(row: str, size: int, device: str, way: Mapping[str, Any]) -> Step:
    step = Step(row, size, device=device, **way)
    for _ in range(WARM_UP):
        step()
    synchronize(device)
    return step


def attempted(leg: str, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
    """What the work gives; none where it fails, which is told: time on a GPU is scarce, and one leg not to cost the others."""
    try:
        return work(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - a GPU, its libraries and a compiler raise anything
        print(f"{leg}: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def waited(work: Callable[[], object], device: str) -> float:
    """Seconds by the clock, until the device is done with it."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


@contextmanager
def multiplying(precision: Precision) -> Iterator[None]:
    """Products of float32 numbers on a GPU as a training has them: in full, unless its precision is tf32."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


class Step:
    """A network, its optimizer and a random batch; called, it takes a step."""

    def __init__(
        self,
        row: str,
        size: int,
        *,
        naive: bool = False,
        n_masks: int | None = None,
        precision: Precision = "32",
        device: str = "cpu",
        compiled: bool = False,
    ) -> None:
        changes = {"method": {"n_masks": n_masks}} if n_masks else {}
        spec = TrainSpec.model_validate(
            merged(PRESETS[f"{row}-infmasking"].spec, changes), context={"datasets": lookup}
        )
        torch.manual_seed(0)
        method = build_method(spec, 0).to(device)
        assert isinstance(method, InfMasking)
        self._method, self._naive, self._precision, self._device = method, naive, precision, device
        self._optimizer = build_optimizer(method, spec.optim)
        if naive:
            as_published(method).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            for group in self._optimizer.param_groups:
                group["fused"] = None  # torch's own choice
        if compiled:
            method.compile(mode="reduce-overhead")  # what compile_step of training.fit does on a GPU
        self._views = [random_inputs(spec, size, device) for _ in range(2)]
        self.n_masks = method.options.n_masks

    def __call__(self) -> None:
        self._optimizer.zero_grad()
        with multiplying(self._precision):
            self._loss().backward()
        self._optimizer.step()

    def _loss(self) -> Tensor:
        with torch.autocast(self._device, torch.bfloat16, enabled=self._precision == "bf16"):
            if self._naive:
                return naive_loss(self._method, self._views, WHEN.epoch, WHEN.max_epochs)
            loss: Tensor = self._method(Batch(self._views, {}), WHEN).loss
            return loss


def random_inputs(spec: TrainSpec, size: int, device: str = "cpu") -> Inputs:
    shapes = {
        "image": lambda m: (m.channels, m.size, m.size),
        "sequence": lambda m: (m.length, m.features),
        "table": lambda m: (m.features,),
    }
    return {
        each.name: torch.randn(size, *shapes[each.kind](each), device=device)
        for each in spec.dataset.modalities
    }


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
