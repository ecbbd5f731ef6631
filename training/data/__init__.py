"""The data: a dataset's spec goes in, samples for training and probing come out, whole and on one device.

Nothing here streams: every dataset fits into memory as uint8, so a batch is one gather and augmentation is done on
the batch, wherever it lives.
"""

from training.data.augment import Augmenter
from training.data.dataset import load
from training.data.samples import Data, Split, prepare

__all__ = ["Augmenter", "Data", "Split", "load", "prepare"]
