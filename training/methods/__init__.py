"""The methods, one file each. A new one is a file, a line here, and its options in `training.spec.methods`."""

from __future__ import annotations

from training.methods.cmc import CMC
from training.methods.comm import CoMM
from training.methods.cross import Cross
from training.methods.cross_self import CrossSelf
from training.methods.factorcl import FactorCL
from training.methods.infmasking import InfMasking
from training.methods.mae import MAE
from training.methods.method import Batch, Encoded, Features, Inputs, Method, View, When
from training.methods.simclr import SimCLR
from training.methods.slip import SLIP
from training.methods.supervised import Supervised
from training.spec import TrainSpec

__all__ = ["METHODS", "Batch", "Encoded", "Features", "Inputs", "Method", "View", "When", "build_method"]

METHODS: dict[
    str,
    type[InfMasking | CoMM | Cross | CrossSelf | CMC | SimCLR | SLIP | FactorCL | MAE | Supervised],
] = {
    "infmasking": InfMasking,
    "comm": CoMM,
    "cross": Cross,
    "cross_self": CrossSelf,
    "cmc": CMC,
    "simclr": SimCLR,
    "slip": SLIP,
    "factorcl": FactorCL,
    "mae": MAE,
    "supervised": Supervised,
}


def build_method(spec: TrainSpec, vocabulary: int) -> Method:
    """The network of a spec, freshly initialised. `vocabulary`: token ids of its texts, 0 where there are none."""
    return METHODS[spec.method.name](spec, vocabulary)
