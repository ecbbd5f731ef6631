"""python -m training fit|probe|export|embed RUN_DIR

Does what RUN_DIR/spec.json says. Stop it with Ctrl-C or SIGTERM: it saves its state, and the same command continues.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from pathlib import Path

from training.deathwatch import die_with_parent, is_follower
from training.run_dir import RunDir

WORKS = {
    "fit": "training.fit",
    "probe": "training.probe.job",
    "export": "training.export",
    "embed": "training.embed.job",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "work",
        choices=WORKS,
        help="fit: train; probe: score by linear probes; export: write ONNX; embed: a whole dataset",
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="a directory that holds spec.json")
    parser.add_argument(
        "--die-with-parent", type=int, metavar="PID", help="be killed when the starting process PID dies"
    )
    arguments = parser.parse_args()
    if is_follower():
        die_with_parent(os.getppid())
    elif arguments.die_with_parent is not None:
        die_with_parent(arguments.die_with_parent)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    # torch takes seconds to import, in which the parent could die unnoticed: so only now.
    from training.runner import run

    work = importlib.import_module(WORKS[arguments.work]).work
    return run(work, RunDir(arguments.run_dir))


if __name__ == "__main__":
    sys.exit(main())
