"""The methods, one file each. A new one is a file, a line here, and its options in `training.spec`."""

from __future__ import annotations

from training.methods.comm import CoMM
from training.methods.cross import Cross
from training.methods.infmasking import InfMasking
from training.methods.method import Inputs, Method, When
from training.spec import TrainSpec

__all__ = ["METHODS", "Inputs", "Method", "When", "build_method"]

METHODS: dict[str, type[InfMasking] | type[CoMM] | type[Cross]] = {
    "infmasking": InfMasking,
    "comm": CoMM,
    "cross": Cross,
}


def build_method(spec: TrainSpec, vocabulary: int) -> Method:
    """The network of a spec, freshly initialised. `vocabulary`: token ids of its texts, 0 where there are none."""
    return METHODS[spec.method.name](spec, vocabulary)
