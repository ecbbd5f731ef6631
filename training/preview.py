"""python -m training.preview DATASETS_DIR SPEC

Shows what views look like: writes a preview of the dataset below DATASETS_DIR, as training.spec.preview describes it, unless
it is there already. SPEC is a dataset's spec as JSON, such as {"name": "digits", "form": "captions"}.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from training.deathwatch import die_with_parent
from training.errors import DataError
from training.run_dir import EXIT_FAILED, EXIT_OK
from training.spec import DatasetSpec

NICENESS = 19
"""Nobody waits for a preview, and others work on this machine."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.preview",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("datasets_dir", type=Path, metavar="DATASETS_DIR")
    parser.add_argument("spec", metavar="SPEC")
    parser.add_argument(
        "--die-with-parent", type=int, metavar="PID", help="be killed when the starting process PID dies"
    )
    asked = parser.parse_args()
    if asked.die_with_parent is not None:
        die_with_parent(asked.die_with_parent)
    os.nice(NICENESS)
    # torch takes seconds to import, in which the parent could die unnoticed: so only now.
    from training.data.previews import make

    try:
        make(TypeAdapter[DatasetSpec](DatasetSpec).validate_json(asked.spec), asked.datasets_dir)
    except (DataError, OSError) as error:
        return _refuse(str(error))
    except ValidationError as error:
        return _refuse(f"the spec or the dataset's report cannot be read: {error.errors()[0]['msg']}")
    return EXIT_OK


def _refuse(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
