"""From a dataset's spec to its data."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from training.data.digits import digits
from training.data.forms import assemble
from training.data.registered import registered
from training.data.samples import Data
from training.data.trifeatures import trifeatures
from training.pretrained import tokenizer_for
from training.spec import DatasetSpec, Digits, Protocol, Registered, TrainSpec


def load(
    spec: DatasetSpec,
    cache: Path,
    protocol: Protocol = "strict",
    *,
    splits: Protocol | None = None,
    tokenizer: Tokenizer | None = None,
) -> Data:
    """Build the data that `spec` says. What takes long to make is kept under `cache`, where registered datasets are too.

    Registered data differs by the protocol it is trained under. `splits`: the protocol that says which samples train,
    select and test, where it is another; so a representation is probed strictly, whichever way it was trained, and sees
    numbers as it knows them. `tokenizer`: a pretrained tower's, in place of one that is made for the data.

    Raises DataError when the spec asks for more than the dataset has, or a registered one is not here or damaged.
    """
    if isinstance(spec, Registered):
        return registered(spec, cache, protocol, splits or protocol, tokenizer)
    family = digits(spec) if isinstance(spec, Digits) else trifeatures(spec, cache)
    return assemble(spec, family, tokenizer)


def load_for(trained: TrainSpec, cache: Path, *, splits: Protocol | None = None) -> Data:
    """The data of a training, as `load` builds it: texts in the tokens of the tower that reads them, if one does.

    Raises DataError also when that tower is not there.
    """
    texts = [modality for modality in trained.dataset.modalities if modality.kind == "text"]
    tokenizer = next(filter(None, (tokenizer_for(trained.model, modality) for modality in texts)), None)
    return load(trained.dataset, cache, trained.protocol, splits=splits, tokenizer=tokenizer)
