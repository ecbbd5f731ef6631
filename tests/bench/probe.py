"""How much solving together saves, on features as ill-conditioned as embeddings are, in float32.

*search*: the two-stage search for a cost, batched, against the published order of things: one cost after the other by
torch's own L-BFGS. *labels*: 23 labels at 7 costs in one solve, against scikit-learn's logistic regression, one label at a
time, with the 100 iterations of the published code; measured on some of the labels, and scaled to all. *ridge*: 7
alphas from one eigendecomposition, against scikit-learn's fits of all outputs, and of one output at a time. All on one
thread, in CPU seconds, which other work on the machine disturbs less than wall time; the sides are measured in turn, and
the medians of their repeats compared. Where there is a GPU, the same is solved there too and timed by the clock: the search
against the published order of things there, labels and ridge against ours on the CPU.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits
from torch import Tensor

from tests.bench.step import attempted, multiplying, seconds, waited
from tests.training.probe import sequential
from training.probe.entropy import Problem
from training.probe.logistic import fit_classes, fit_labels
from training.probe.ridge import fit_ridge
from training.probe.scores import macro_accuracy
from training.probe.search import COSTS, search_cost

SELECTED = 2_000
"""Samples that a cost is chosen by, besides those fitted on."""


@dataclass(frozen=True)
class Size:
    n: int
    width: int
    outputs: int
    """Classes, labels or numbers."""
    repeats: int
    measured: int = 0
    """Labels that scikit-learn is measured on."""


SEARCH = Size(10_000, 512, 10, repeats=1)
LABELS = Size(15_552, 768, 23, repeats=1, measured=2)
RIDGE = Size(117_600, 128, 4, repeats=5)


def measure() -> dict[str, float]:
    """Seconds and ratios, as the names say; `_same_cost` is 1 when both searches chose the same cost."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        measured = {**search(SEARCH), **labels(LABELS), **ridge(RIDGE)}
    torch.set_num_threads(threads)
    return measured | (measure_on_gpu() if torch.cuda.is_available() else {})


def measure_on_gpu(device: str = "cuda") -> dict[str, float]:
    """As `measure`, by the clock; `_on_cpu_s` is ours there, by all threads. What fails is told on stderr, and its names are
    missing.

    device: "cpu" tries the code where there is no GPU.
    """
    with multiplying("32"):
        legs = [
            attempted("search", search, SEARCH, device, partial(waited, device=device)),
            attempted("labels", on_both, "labels", fit_labels, labelled(LABELS), LABELS.repeats, device),
            attempted("ridge", on_both, "ridge", fit_ridge, numbered(RIDGE), RIDGE.repeats, device),
        ]
    return {f"gpu_{name}": value for leg in legs if leg for name, value in leg.items()}


def on_both(
    name: str, solve: Callable[..., object], samples: tuple[Tensor, Tensor], repeats: int, device: str
) -> dict[str, float]:
    """Seconds of ours on the device and on the CPU; each is solved once before, for what is loaded by then."""
    x, y = (each.to(device) for each in samples)
    works = (lambda: solve(x, y, COSTS), lambda: solve(*samples, COSTS))
    for work in works:
        work()
    there, on_cpu = medians(repeats, *works, timed=partial(waited, device=device))
    return {f"{name}_batched_s": there, f"{name}_on_cpu_s": on_cpu}


def search(
    size: Size, device: str = "cpu", timed: Callable[[Callable[[], object]], float] = seconds
) -> dict[str, float]:
    x, y = (each.to(device) for each in features(size.n + SELECTED, size.width, size.outputs))
    fitted, selected = (x[: size.n], y[: size.n]), (x[size.n :], y[size.n :])
    costs: dict[str, float] = {}

    def score(probe: Callable[[Tensor], Tensor]) -> float:
        return macro_accuracy(probe(selected[0]).argmax(1), selected[1])

    def batched() -> None:
        searching = search_cost()
        asked = next(searching)
        while True:
            probes = fit_classes(fitted[0], [Problem(fitted[1], cost) for cost in asked], size.outputs)
            try:
                asked = searching.send([score(probe) for probe in probes])
            except StopIteration as stop:
                costs["batched"] = stop.value
                return

    def one_after_the_other() -> None:
        costs["sequential"] = sequential.search_cost(
            lambda cost: score(sequential.fit(*fitted, size.outputs, cost))
        )

    if device != "cpu":  # whose kernels are loaded when they are first used
        batched()
        sequential.fit(*fitted, size.outputs, COSTS[0])
    ours, theirs = medians(size.repeats, batched, one_after_the_other, timed=timed)
    return {
        "search_batched_s": ours,
        "search_sequential_s": theirs,
        "search_speedup": theirs / ours,
        "search_same_cost": float(costs["batched"] == costs["sequential"]),
    }


def labels(size: Size) -> dict[str, float]:
    x, there = labelled(size)
    chosen = np.linspace(0, size.outputs - 1, size.measured).astype(int)

    def one_at_a_time() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # as published
            for label in chosen:
                for cost in COSTS:
                    LogisticRegression(C=cost, max_iter=100).fit(x.numpy(), there[:, label].numpy())

    ours, theirs = medians(size.repeats, lambda: fit_labels(x, there, COSTS), one_at_a_time)
    theirs *= size.outputs / size.measured
    return {"labels_batched_s": ours, "labels_sklearn_s": theirs, "labels_speedup": theirs / ours}


def labelled(size: Size) -> tuple[Tensor, Tensor]:
    """Features and labels, bool (N, C)."""
    x, _ = features(size.n, size.width, size.outputs)
    random = torch.Generator().manual_seed(1)
    leaning = x @ torch.randn(size.width, size.outputs, generator=random)
    leaning = leaning / leaning.std(0) + torch.randn(size.n, size.outputs, generator=random)
    return x, leaning > torch.linspace(0, 2.5, size.outputs)  # from every second sample to few


def ridge(size: Size) -> dict[str, float]:
    x, y = numbered(size)

    def one_alpha_at_a_time() -> None:
        for alpha in COSTS:
            Ridge(alpha=alpha).fit(x.numpy(), y.numpy())

    def one_output_at_a_time() -> None:
        for alpha in COSTS:
            for output in y.T:
                Ridge(alpha=alpha).fit(x.numpy(), output.numpy())

    ours, theirs, single = medians(
        size.repeats, lambda: fit_ridge(x, y, COSTS), one_alpha_at_a_time, one_output_at_a_time
    )
    return {
        "ridge_batched_s": ours,
        "ridge_sklearn_s": theirs,
        "ridge_speedup": theirs / ours,
        "ridge_one_output_at_a_time_s": single,
        "ridge_one_output_at_a_time_speedup": single / ours,
    }


def numbered(size: Size) -> tuple[Tensor, Tensor]:
    """Features and outputs (N, K)."""
    x, _ = features(size.n, size.width, size.outputs)
    random = torch.Generator().manual_seed(1)
    return x, x[:, : size.outputs] + torch.randn(size.n, size.outputs, generator=random)


def features(n: int, width: int, classes: int) -> tuple[Tensor, Tensor]:
    """Clouds around the classes' centres, whose directions shrink by a power law and are turned: (N, D) and (N,)."""
    random = torch.Generator().manual_seed(0)
    y = torch.randint(classes, (n,), generator=random)
    x = torch.randn(n, width, generator=random) + torch.randn(classes, width, generator=random)[y] / 4
    turned, _ = torch.linalg.qr(torch.randn(width, width, generator=random))
    return x * torch.arange(1, width + 1) ** -0.75 @ turned, y


def medians(
    repeats: int,
    *works: Callable[[], object],
    timed: Callable[[Callable[[], object]], float] = seconds,
) -> list[float]:
    """Seconds of each, measured in turn."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for times, work in zip(taken, works, strict=True):
            times.append(timed(work))
    return [statistics.median(times) for times in taken]
