"""What the engine counts about itself, for Prometheus. All of it is this process's, since it started."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import disable_created_metrics

Stage = Literal["prepare", "queue", "run", "finish"]
Outcome = Literal["hit", "redis", "shared", "miss"]
"""Remembered here; remembered in Redis; being computed for somebody already; computed."""
Reason = Literal["overloaded", "model_overloaded", "deadline", "gone", "failed"]
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32)
MOST_SIGNATURES = 200
"""Label values that models' own modalities may make; further ones are counted as `other`."""

# A second series for each one, which says when it began; nobody asked for it.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Meters:
    """May be used from any thread."""

    def __init__(self) -> None:
        # Of our own: the library's default registry would add the process's numbers and be shared by all engines.
        self._registry = CollectorRegistry()
        self._signatures: set[str] = set()
        self._stages = Histogram(
            "fusebox_inference_stage_seconds",
            "Prepare and queue of a sample, run of a batch, finish of an answer.",
            ["stage"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "fusebox_inference_batch_samples", "Samples in a batch.", buckets=SIZES, registry=self._registry
        )
        self._samples = Counter(
            "fusebox_inference_samples",
            "Computed samples by what they had.",
            ["modalities"],
            registry=self._registry,
        )
        self._cache = Counter(
            "fusebox_inference_vectors",
            "Vectors by where they came from.",
            ["cache"],
            registry=self._registry,
        )
        self._refused = Counter(
            "fusebox_inference_refused",
            "Inputs that were not answered with a vector.",
            ["reason"],
            registry=self._registry,
        )
        self._restarts = Counter(
            "fusebox_inference_restarts",
            "Threads of the engine that died and were replaced.",
            registry=self._registry,
        )

    def took(self, stage: Stage, seconds: float) -> None:
        self._stages.labels(stage).observe(seconds)

    def ran(self, modalities: Iterable[Iterable[str]]) -> None:
        """A batch of samples that had these."""
        count = 0
        for names in modalities:
            self._samples.labels(self._signature("+".join(sorted(names)))).inc()
            count += 1
        self._batches.observe(count)

    def came_from(self, outcome: Outcome, count: int) -> None:
        if count:
            self._cache.labels(outcome).inc(count)

    def refused(self, reason: Reason, count: int = 1) -> None:
        self._refused.labels(reason).inc(count)

    def restarted(self) -> None:
        self._restarts.inc()

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Asks `value` whenever the numbers are read."""
        Gauge(f"fusebox_inference_{name}", meaning, registry=self._registry).set_function(value)

    def exposition(self) -> str:
        """Prometheus' text format, 0.0.4."""
        return generate_latest(self._registry).decode()

    def _signature(self, names: str) -> str:
        if names not in self._signatures:
            if len(self._signatures) >= MOST_SIGNATURES:
                return "other"
            self._signatures.add(names)
        return names
