"""python -m training.registration FORMAT PATH DATASETS_DIR

Registers the dataset at PATH below DATASETS_DIR. Says what it does as events, one JSON object a line: the last is a `done`
whose text is the dataset's sha256, or the reason why it was refused. Its memory and time are bounded by what the files
can need.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from training.deathwatch import die_with_parent
from training.errors import DataError
from training.events import Done, Event, FailureCode
from training.registration.formats import FORMATS
from training.registration.limits import limit_this_process
from training.registration.registering import register
from training.run_dir import EXIT_FAILED, EXIT_OK
from training.spec.registration import OWN_FORMATS, Options


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.registration",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("path", type=Path, metavar="PATH", help="the file or folder as it was downloaded")
    parser.add_argument("datasets_dir", type=Path, metavar="DATASETS_DIR")
    parser.add_argument(
        "--options",
        default="{}",
        metavar="JSON",
        help="what is said of the data: training.spec.registration.Options",
    )
    parser.add_argument(
        "--die-with-parent", type=int, metavar="PID", help="be killed when the starting process PID dies"
    )
    asked = parser.parse_args()
    if asked.die_with_parent is not None:
        die_with_parent(asked.die_with_parent)
    try:
        options = Options.model_validate_json(asked.options)
        limit_this_process(asked.path, piecewise=asked.format in OWN_FORMATS)
        digest = register(asked.format, asked.path, asked.datasets_dir, options, _tell)
    except DataError as error:
        return _refuse(str(error))
    except ValidationError as error:
        return _refuse(f"--options: {error.errors()[0]['msg']}")
    except OSError as error:
        return _refuse(f"{error.filename or asked.path}: {error.strerror or error}", "internal")
    except MemoryError:
        return _refuse(
            f"reading {asked.path.name} takes more memory than files of its size can need; nothing was registered"
        )
    _tell(Done(outcome="succeeded", step=0, text=digest))
    return EXIT_OK


def _tell(event: Event) -> None:
    sys.stdout.write(event.model_dump_json() + "\n")
    sys.stdout.flush()


def _refuse(reason: str, code: FailureCode = "data_error") -> int:
    """`internal`: it is not the data's fault, and what is said is for who looks after the machine."""
    _tell(Done(outcome="failed", step=0, code=code, text=reason))
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
