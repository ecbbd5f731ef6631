"""From a dataset's spec to its data."""

from __future__ import annotations

from pathlib import Path

from training.data.digits import digits
from training.data.forms import assemble
from training.data.samples import Data
from training.data.trifeatures import trifeatures
from training.spec import Digits, Trifeatures


def load(spec: Digits | Trifeatures, cache: Path) -> Data:
    """Build the data that `spec` says. What takes long to make is kept under `cache`.

    Raises DataError when the spec asks for more than the dataset has.
    """
    family = digits(spec) if isinstance(spec, Digits) else trifeatures(spec, cache)
    return assemble(spec, family)
