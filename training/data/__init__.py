"""The data: a dataset's spec goes in, samples for training and probing come out, whole and on one device.

Nothing here streams: what fits lives on the device as it is, images as uint8, and the rest is mapped from disk, so a
batch is one gather and augmentation is done on the batch, wherever it is trained on.
"""

from training.data.augment import Augmenter
from training.data.dataset import load, load_for
from training.data.samples import Data, Split, prepare

__all__ = ["Augmenter", "Data", "Split", "load", "load_for", "prepare"]
