"""What the demo trains: small enough for minutes on two CPU cores, large enough that the methods come apart.

Measured over seeds in docs/results/digits-first-walk.md. One thread per job, on the CPU even where there is a GPU:
networks this small gain nothing from more, and the numbers stay comparable.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

METHODS: dict[str, Json] = {
    "InfMasking": {"name": "infmasking"},
    "CoMM": {"name": "comm"},
    "Cross": {"name": "cross", "projection_dim": 64},
}
"""As people call them, and as specs do."""
SEED = 42
COMMON: Json = {
    "model": {"dim": 64, "heads": 4, "head_hidden": 128, "head_out": 64},
    "optim": {"lr": 1e-3},
    "batch_size": 64,
    "device": "cpu",
    "threads": 1,
    "log_every_steps": 4,
}


def on_pairs(method: str, seed: int = SEED) -> Json:
    """Two digits of equal parity, of which the second is always the first one's partner: what makes synergy."""
    dataset = {"name": "digits", "form": "pairs", "biased": True, "n_pairs": 6_000}
    return {**COMMON, "method": METHODS[method], "dataset": dataset, "epochs": 8, "seed": seed}


def on_captions() -> Json:
    """A digit and a sentence that names it."""
    dataset = {"name": "digits", "form": "captions", "n_pairs": 4_000}
    return {**COMMON, "method": METHODS["InfMasking"], "dataset": dataset, "epochs": 4, "seed": SEED}


def probe(trained: str) -> Json:
    return {"run": trained, "threads": 1}


def export(trained: str, name: str) -> Json:
    return {"run": trained, "name": name, "threads": 1}
