"""make bench [ARGS="fusion rendering"]: measures on this machine; the last line printed is one JSON object."""

from __future__ import annotations

import json
import os
import platform
import sys

from tests.bench import digits, fusion, methods, metrics, pages, probe, rendering, serving, step, views
from tests.bench.serving import on_gpu

BENCHES = {
    "fusion": fusion.measure,
    "rendering": rendering.measure,
    "views": views.measure,
    "step": step.measure,
    "probe": probe.measure,
    "digits": digits.measure,
    "methods": methods.measure,
    "metrics": metrics.measure,
    "pages": pages.measure,
    "serving": serving.measure,
    "serving-gpu": on_gpu.measure,
}
QUICK = ("fusion", "rendering")
"""Measured when none is named."""


def main() -> None:
    chosen = sys.argv[1:] or list(QUICK)
    if unknown := set(chosen) - set(BENCHES):
        sys.exit(f"there is no bench {sorted(unknown)[0]!r}; there are {', '.join(BENCHES)}")
    results: dict[str, object] = {"cpus": len(os.sched_getaffinity(0)), "python": platform.python_version()}
    for name in chosen:
        print(f"measuring {name} …", file=sys.stderr)
        results[name] = {key: round(value, 4) for key, value in BENCHES[name]().items()}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
