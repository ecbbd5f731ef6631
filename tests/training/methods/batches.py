"""Methods in float64 with tiny widths, and random batches for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.training.runs import small
from training.methods import Batch, Inputs, Method, View, When, build_method
from training.spec import METHODS, MODALITY_COUNTS, Modality, Registered, Task, TrainSpec

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
AFFECT = {"name": "affect", "layers": 1, "dropout": 0.0}
REGISTERED: dict[str, list[dict[str, Any]]] = {
    "affect": [
        {"name": "vision", "kind": "sequence", "length": 6, "features": 5, "encoder": AFFECT},
        {"name": "words", "kind": "sequence", "length": 6, "features": 7, "encoder": AFFECT},
    ],
    "clinical": [
        {
            "name": "values",  # what a torch module calls one of its own methods
            "kind": "table",
            "features": 5,
            "encoder": {"name": "mlp", "widths": [10, 10], "tokens": "per_feature"},
        },
        {"name": "series", "kind": "sequence", "length": 8, "features": 3,
         "encoder": {"name": "gru", "width": 8}},
    ],
    "robot": [
        {"name": "image", "kind": "image", "channels": 3, "size": 8},
        {"name": "force", "kind": "sequence", "length": 32, "features": 6, "encoder": "force"},
        {"name": "state", "kind": "table", "features": 8, "encoder": "columns"},
    ],
}  # fmt: skip
"""Small datasets as registering would describe them."""
TASKS = [
    {"name": "mood", "family": "redundancy", "classes": 3},
    {"name": "genres", "family": "uniqueness", "classes": 4, "type": "multilabel"},
    {"name": "turn", "family": "synergy", "classes": 2, "type": "regression"},
]
FORMS = {"pairs": 2, "captions": 2, "triples": 3, **{name: len(each) for name, each in REGISTERED.items()}}
WITHOUT_IMAGE = {"affect", "clinical"}
ADMITTED = [
    (name, form)
    for name, method in METHODS.items()
    for form, n in FORMS.items()
    if n in MODALITY_COUNTS[name] and not (hasattr(method, "image_of") and form in WITHOUT_IMAGE)
]
START = When(epoch=0, max_epochs=10)


def tiny(method: str, form: str = "captions", **options: Any) -> TrainSpec:
    dataset = registered(form, REGISTERED[form]) if form in REGISTERED else {"form": form}
    return small(method={"name": method, **TINY[method], **options}, dataset=dataset)


def registered(name: str, modalities: list[dict[str, Any]]) -> Registered:
    card = {"modalities": modalities, "tasks": TASKS, "samples": {"train": 256, "test": 64}}
    return Registered.model_validate({"name": name, "sha256": "0" * 64, "card": card})


def built(spec: TrainSpec) -> Method:
    """Freshly initialised, always the same, in float64."""
    torch.manual_seed(0)
    return build_method(spec, VOCABULARY).double()


def inputs(spec: TrainSpec, size: int) -> dict[str, Tensor]:
    return {each.name: drawn(each, size) for each in spec.dataset.modalities}


def drawn(modality: Modality, size: int) -> Tensor:
    """Random images and tables; texts of 1 to 7 words that are padded to 7; sequences padded to their length, but for
    those that are always full."""
    match modality.kind:
        case "text":
            words = torch.randint(2, VOCABULARY, (size, 7))
            return words * (torch.arange(7) < torch.randint(1, 8, (size, 1)))
        case "image":
            shape = (size, modality.channels, modality.size, modality.size)
            return torch.randn(shape, dtype=torch.float64)
        case "table":
            return torch.randn(size, modality.features, dtype=torch.float64)
        case "sequence":
            steps = torch.randn(size, modality.length, modality.features, dtype=torch.float64)
            shortest = modality.length if modality.name == "force" else 1
            lengths = torch.randint(shortest, modality.length + 1, (size, 1))
            return steps * (torch.arange(modality.length) < lengths)[..., None]


def batch(method: Method, spec: TrainSpec, size: int, seed: int = 1) -> Batch:
    """As many random views as the method wants; views of one sample resemble one another."""
    torch.manual_seed(seed)
    plain = inputs(spec, size)
    tasks = {task.name: task for task in spec.dataset.tasks}
    labels = {name: labelled(tasks[name], size) for name in method.tasks}
    return Batch([varied(plain, strength) for strength in method.views], labels)


def labelled(task: Task, size: int) -> Tensor:
    match task.type:
        case "class":
            return torch.randint(0, task.classes, (size,))
        case "multilabel":
            return torch.randint(0, 2, (size, task.classes))
        case "regression":
            return torch.randn(size, task.classes)


def varied(plain: Inputs, strength: View) -> Inputs:
    """With noise, but not on padding."""
    noise = {"plain": 0.0, "crop": 0.1, "full": 0.3}[strength]
    return {
        name: each + noise * torch.randn_like(each) * (each != 0) if each.is_floating_point() else each
        for name, each in plain.items()
    }


def permuted(given: Batch, order: Tensor) -> Batch:
    views: list[Inputs] = [{name: each[order] for name, each in view.items()} for view in given.views]
    return Batch(views, {task: classes[order] for task, classes in given.labels.items()})
