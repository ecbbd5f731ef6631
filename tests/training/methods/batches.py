"""Methods in float64 with tiny widths, and random batches for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.training.runs import small
from training.methods import Batch, Inputs, Method, View, When, build_method
from training.spec import METHODS, MODALITY_COUNTS, TrainSpec

VOCABULARY = 40
TINY: dict[str, dict[str, Any]] = {
    "infmasking": {"n_masks": 4},
    "comm": {},
    "cross": {"projection_dim": 8},
    "cross_self": {"head_hidden": 16, "head_out": 8},
    "cmc": {"projection_dim": 8},
    "simclr": {"head_hidden": 16, "head_out": 8},
    "slip": {"projection_dim": 8, "head_hidden": 16, "head_out": 8},
    "factorcl": {"critic_hidden": 16},
    "mae": {"decoder_dim": 16, "decoder_heads": 2, "decoder_layers": 1},
    "supervised": {},
}
FORMS = {"pairs": 2, "captions": 2, "triples": 3}
ADMITTED = [(name, form) for name in METHODS for form, n in FORMS.items() if n in MODALITY_COUNTS[name]]
START = When(epoch=0, max_epochs=10)


def tiny(method: str, form: str = "captions", **options: Any) -> TrainSpec:
    return small(method={"name": method, **TINY[method], **options}, dataset={"form": form})


def built(spec: TrainSpec) -> Method:
    """Freshly initialised, always the same, in float64."""
    torch.manual_seed(0)
    return build_method(spec, VOCABULARY).double()


def inputs(spec: TrainSpec, size: int) -> dict[str, Tensor]:
    """Random images, and texts of 1 to 7 words that are padded to 7."""
    drawn = {}
    for modality in spec.dataset.modalities:
        if modality.kind == "text":
            words = torch.randint(2, VOCABULARY, (size, 7))
            drawn[modality.name] = words * (torch.arange(7) < torch.randint(1, 8, (size, 1)))
        else:
            shape = (size, modality.channels, modality.size, modality.size)
            drawn[modality.name] = torch.randn(shape, dtype=torch.float64)
    return drawn


def batch(method: Method, spec: TrainSpec, size: int, seed: int = 1) -> Batch:
    """As many random views as the method wants; views of one sample resemble one another."""
    torch.manual_seed(seed)
    plain = inputs(spec, size)
    classes = {task.name: task.classes for task in spec.dataset.tasks}
    labels = {name: torch.randint(0, classes[name], (size,)) for name in method.tasks}
    return Batch([varied(plain, strength) for strength in method.views], labels)


def varied(plain: Inputs, strength: View) -> Inputs:
    noise = {"plain": 0.0, "crop": 0.1, "full": 0.3}[strength]
    return {
        name: each + noise * torch.randn_like(each) if each.is_floating_point() else each
        for name, each in plain.items()
    }


def permuted(given: Batch, order: Tensor) -> Batch:
    views: list[Inputs] = [{name: each[order] for name, each in view.items()} for view in given.views]
    return Batch(views, {task: classes[order] for task, classes in given.labels.items()})
