"""Losses as pure functions: embeddings in, scalars out. The paper and its equation stand in each docstring."""

from training.losses.comm import comm
from training.losses.contrastive import cmc, cross_modal, cross_self, info_nce, simclr, slip
from training.losses.entropy import entropy
from training.losses.factorcl import critics, factorcl
from training.losses.infmasking import infmasking
from training.losses.reconstruction import mean_error, number_errors, word_errors
from training.losses.result import Loss
from training.losses.supervised import supervised

__all__ = [
    "Loss",
    "cmc",
    "comm",
    "critics",
    "cross_modal",
    "cross_self",
    "entropy",
    "factorcl",
    "infmasking",
    "info_nce",
    "mean_error",
    "number_errors",
    "simclr",
    "slip",
    "supervised",
    "word_errors",
]
