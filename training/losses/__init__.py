"""Losses as pure functions: embeddings in, scalars out. The paper and its equation stand in each docstring."""

from training.losses.comm import comm
from training.losses.contrastive import cmc, cross_modal, cross_self, info_nce
from training.losses.infmasking import infmasking
from training.losses.result import Loss

__all__ = ["Loss", "cmc", "comm", "cross_modal", "cross_self", "infmasking", "info_nce"]
