"""What shall be done, fully said: the specs of the four kinds of run. Torch-free; every bad combination ends here.

A spec is frozen and complete: defaults are filled in, so the same spec always means the same run. `method` and
`dataset` may be given as a bare name. Messages say what is wrong, where, and what to do.
"""

from training.spec import encoders
from training.spec.base import Penalty, Protocol, RunName, Seed
from training.spec.datasets import (
    DATASETS,
    Card,
    Change,
    DatasetSpec,
    Digits,
    Form,
    Lookup,
    Modality,
    Registered,
    Task,
    Trifeatures,
)
from training.spec.embedding import EmbedSpec
from training.spec.encoders import Encoders, EncoderSpec
from training.spec.kinds import SPECS, AnySpec, ExportSpec, Kind, ProbeSpec, spec_hash
from training.spec.masking import MaskRatio, RatioRange
from training.spec.methods import (
    CMC,
    MAE,
    METHODS,
    MODALITY_COUNTS,
    SLIP,
    CoMM,
    Cross,
    CrossSelf,
    FactorCL,
    InfMasking,
    MethodSpec,
    SimCLR,
    Supervised,
)
from training.spec.model import Model
from training.spec.train import Checkpoints, IntervalProbe, Optim, TrainSpec

__all__ = [
    "CMC",
    "DATASETS",
    "MAE",
    "METHODS",
    "MODALITY_COUNTS",
    "SLIP",
    "SPECS",
    "AnySpec",
    "Card",
    "Change",
    "Checkpoints",
    "CoMM",
    "Cross",
    "CrossSelf",
    "DatasetSpec",
    "Digits",
    "EmbedSpec",
    "EncoderSpec",
    "Encoders",
    "ExportSpec",
    "FactorCL",
    "Form",
    "InfMasking",
    "IntervalProbe",
    "Kind",
    "Lookup",
    "MaskRatio",
    "MethodSpec",
    "Modality",
    "Model",
    "Optim",
    "Penalty",
    "ProbeSpec",
    "Protocol",
    "RatioRange",
    "Registered",
    "RunName",
    "Seed",
    "SimCLR",
    "Supervised",
    "Task",
    "TrainSpec",
    "Trifeatures",
    "encoders",
    "spec_hash",
]
