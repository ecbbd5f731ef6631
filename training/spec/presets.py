"""The published tables' runs as named specs: what to train on what, by which method, with which options; and two
experiments of our own on the same questions, small enough for a CPU.

A row is a dataset, or a use of it, with the network and the steps that all its methods share; a preset is a row and a
method, `mosi-infmasking`. Each says where its options come from: InfMasking's run scripts (arXiv:2509.25270), CoMM's
configurations (arXiv:2409.07402), those of the method's own paper, or, where nobody has published any, from us. Published
runs follow protocol `reference`; with `strict` they differ in what is seen while training, not in their options. Ours
are strict.

A registered dataset goes by its usual name here (`fusebox datasets add mosi …`); its card is looked up when it is used.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
FUSED_FOR_LAST = [1, 1, 1, 1, 5]
"""Loss weights of two modalities: the alignment of the two fusions counts five times."""
PUBLISHED = "the published run of InfMasking"
SAME = "CoMM's published configuration"


@dataclass(frozen=True)
class Row:
    about: str
    dataset: Json
    infmasking: Json
    """Its options in the published run."""
    model: Json
    optim: Json
    methods: tuple[str, ...]
    """Those of the paper's table, in its order."""
    own: Mapping[str, Json] = field(default_factory=dict)
    """Method → what of the spec is its own."""
    epochs: int = 100
    patience: int | None = None
    """Probes without a better one after which the published runs stopped."""
    ours: Json | None = None
    """What else the methods share in a row that nobody has published: it is small, and nobody's options were tuned."""


@dataclass(frozen=True)
class Preset:
    name: str
    row: str
    method: str
    about: str
    options_from: str
    spec: Json


PAIRED = ("cross", "cross_self", "factorcl", "comm", "infmasking", "supervised")
THREE = ("cmc", "comm", "infmasking", "supervised")
ALL = ("cross", "cross_self", "cmc", "simclr", "slip", "factorcl", "mae", "comm", "infmasking", "supervised")
UNBIASED = {"dataset": {"biased": False}}
"""For a supervised training: of pairs that all have the synergy relation there is nothing to learn about it."""
_AFFECT_MODEL: Json = {"dim": 40}
_AFFECT_OPTIM: Json = {"lr": 1e-3, "weight_decay": 1e-2}
_TOUCH_OPTIM: Json = {"lr": 1e-4, "weight_decay": 1e-2}
_TRIFEATURES: Json = {
    "infmasking": {"temperature": 0.1, "mask_lambda": 1.0, "mask_ratio": 0.7, "n_masks": 6},
    "model": {"dim": 512},
    "optim": {"lr": 3e-4, "weight_decay": 1e-4},
    "methods": ("cross", "cross_self", "factorcl", "mae", "comm", "infmasking", "supervised"),
    "own": {
        "cross": {"method": {"projection_dim": 512}},
        "mae": {"optim": {"betas": [0.9, 0.95], "weight_decay": 0.05}},
    },
    "patience": 10,
}
_POSTERS: Json = {
    "model": {"dim": 768},
    "optim": {"lr": 1e-3, "weight_decay": 1e-2, "schedule": "cosine", "warmup_epochs": 10},
    "infmasking": {
        "temperature": 0.2,
        "mask_lambda": 0.5,
        "mask_ratio": 0.8,
        "n_masks": 4,
        "weights": FUSED_FOR_LAST,
    },
}
_SMALL: Json = {
    "infmasking": {},
    "model": {"dim": 64, "heads": 4, "head_hidden": 128, "head_out": 64},
    "optim": {"lr": 1e-3},
    "own": {
        "cross": {"method": {"projection_dim": 64}},
        "cross_self": {"method": {"head_hidden": 128, "head_out": 64}},
        "cmc": {"method": {"projection_dim": 64}},
        "simclr": {"method": {"head_hidden": 128, "head_out": 64}},
        "slip": {"method": {"projection_dim": 64, "head_hidden": 128, "head_out": 64}},
        "factorcl": {"method": {"critic_hidden": 128}},
        "mae": {
            "method": {"decoder_dim": 64, "decoder_heads": 4},
            "optim": {"betas": [0.9, 0.95], "weight_decay": 0.05},
        },
    },
    "ours": {"protocol": "strict", "device": "cpu", "threads": 1, "log_every_steps": 4},
}

ROWS: dict[str, Row] = {
    "trifeatures-uniqueness": Row(
        "Trifeatures, pairs with and without the synergy relation: redundancy and uniqueness.",
        {"name": "trifeatures", "form": "pairs", "biased": False},
        **_TRIFEATURES,
    ),
    "trifeatures-synergy": Row(
        "Trifeatures, pairs with the synergy relation only: synergy.",
        {"name": "trifeatures", "form": "pairs", "biased": True},
        **_TRIFEATURES,
    ),
    "mosi": Row(
        "MOSI: sentiment from face and words.",
        {"name": "mosi", "use": ["vision", "text"]},
        {"temperature": 0.1, "mask_lambda": 0.25, "mask_ratio": 0.8, "n_masks": 5},
        _AFFECT_MODEL,
        _AFFECT_OPTIM,
        PAIRED,
        {"cross": {"method": {"projection_dim": 40}}, "factorcl": {"batch_size": 32}},
    ),
    "ur-funny": Row(
        "UR-FUNNY: humour from face and words.",
        {"name": "ur_funny", "use": ["vision", "text"]},
        {"temperature": 0.05, "mask_lambda": 2.0, "mask_ratio": 0.5, "n_masks": 4, "weights": FUSED_FOR_LAST},
        _AFFECT_MODEL,
        _AFFECT_OPTIM,
        PAIRED,
        {"cross": {"method": {"projection_dim": 40}}, "factorcl": {"batch_size": 128}},
    ),
    "mustard": Row(
        "MUSTARD: sarcasm from face and words.",
        {"name": "mustard", "use": ["vision", "text"]},
        {"temperature": 0.05, "mask_lambda": 1.0, "mask_ratio": 0.5, "n_masks": 5},
        _AFFECT_MODEL,
        {"lr": 1e-3, "weight_decay": 5e-2},
        PAIRED,
        {"cross": {"method": {"projection_dim": 40}}, "comm": {"optim": {"weight_decay": 1e-2}}},
    ),
    "mimic": Row(
        "MIMIC: a group of diagnoses (task 7) from 5 numbers and 24 hours of measurements.",
        {"name": "mimic", "predict": ["icd9_7"]},
        {"temperature": 0.2, "mask_lambda": 1.0, "mask_ratio": 0.8, "n_masks": 6, "weights": FUSED_FOR_LAST},
        {"dim": 512},
        {"lr": 3e-4, "weight_decay": 1e-2},
        PAIRED,
        {"comm": {"optim": {"lr": 1e-3}}, "factorcl": {"batch_size": 40, "epochs": 30}},
    ),
    "vision-touch-cp": Row(
        "Vision & Touch: whether the robot will touch, from camera and joints.",
        {"name": "vision_touch", "use": ["image", "proprioception"], "predict": ["contact"]},
        {"temperature": 0.1, "mask_lambda": 1.0, "mask_ratio": 0.7, "n_masks": 6},
        {"dim": 512},
        _TOUCH_OPTIM,
        PAIRED,
        {"cross": {"method": {"projection_dim": 256}}},
    ),
    "vision-touch-ee": Row(
        "Vision & Touch: where the robot's hand will be, from camera and force.",
        {"name": "vision_touch", "use": ["image", "force"], "predict": ["ee_yaw_next"]},
        {"temperature": 0.1, "mask_lambda": 1.0, "mask_ratio": 0.5, "n_masks": 4, "weights": FUSED_FOR_LAST},
        {"dim": 128, "encoders": {"force": {"name": "force", "width": 128, "tokens": "per_feature"}}},
        _TOUCH_OPTIM,
        PAIRED,
        {"cross": {"method": {"projection_dim": 128}}},
    ),
    "mmimdb": Row(
        "MM-IMDb: a film's genres from its poster and plot.",
        {"name": "mmimdb"},
        **_POSTERS,
        methods=("simclr", "cross", "slip", "comm", "infmasking", "supervised"),
        own={
            "simclr": {"model": {"encoders": {"image": "resnet50"}}},
            "slip": {
                "model": {"encoders": {"image": "resnet50"}},
                "optim": {"lr": 3e-3, "betas": [0.9, 0.98], "weight_decay": 0.1, "warmup_epochs": 1},
                "epochs": 25,
            },
            "comm": {"optim": {"lr": 1e-4}},
        },
        epochs=70,
    ),
    "hateful-memes": Row(
        "Hateful Memes: whether a picture with a line of text is hateful.",
        {"name": "hateful_memes"},
        **_POSTERS,
        methods=("comm", "infmasking", "supervised"),
        own={"comm": {"optim": {"lr": 1e-4}}, "infmasking": {"optim": {"lr": 1e-4}}},
    ),
    "ur-funny-3": Row(
        "UR-FUNNY: humour from face, words and voice.",
        {"name": "ur_funny", "use": ["vision", "text", "audio"]},
        {"temperature": 0.05, "mask_lambda": 2.0, "mask_ratio": 0.5, "n_masks": 4},
        {**_AFFECT_MODEL, "layers": 2},
        _AFFECT_OPTIM,
        THREE,
        {"cmc": {"method": {"projection_dim": 13}, "optim": {"lr": 1e-4}}},
        patience=20,
    ),
    "vision-touch-cp-3": Row(
        "Vision & Touch: whether the robot will touch, from camera, force and joints.",
        {"name": "vision_touch", "use": ["image", "force", "proprioception"], "predict": ["contact"]},
        {"temperature": 0.1, "mask_lambda": 1.0, "mask_ratio": 0.8, "n_masks": 5},
        {"dim": 512, "layers": 2},
        _TOUCH_OPTIM,
        THREE,
        {"cmc": {"method": {"projection_dim": 256}}},
        patience=20,
    ),
    "digits": Row(
        "Pairs of handwritten digits with the synergy relation: what they share, each digit, and the relation.",
        {"name": "digits", "form": "pairs", "biased": True, "n_pairs": 6_000},
        **_SMALL,
        methods=ALL,
        epochs=8,
    ),
    "trifeatures-small": Row(
        "Trifeatures of 32 pixels, pairs with the synergy relation: what they share, each texture, and the relation.",
        {
            "name": "trifeatures", "form": "pairs", "biased": True, "n_pairs": 5_000, "image_size": 32,
            "views": "light", "balanced_probes": True,
        },
        **_SMALL,
        methods=_TRIFEATURES["methods"],
        epochs=4,
    ),
}  # fmt: skip

COMMON: Mapping[str, Json] = {
    "factorcl": {"optim": {"lr": 1e-4, "weight_decay": 0.0}},
}
"""Method → what of its spec is its own in every published row."""
ORIGINS: Mapping[str, str] = {
    "infmasking": PUBLISHED,
    "comm": SAME,
    "cross": f"{SAME} of the losses; the row's steps",
    "cross_self": f"{SAME} of the losses; the row's steps",
    "cmc": SAME,
    "simclr": SAME,
    "slip": "the method's own paper; a ResNet-50 from scratch stands for its unpublished backbone",
    "factorcl": "its published code; AdamW without decay stands for its thirteen Adams",
    "mae": "ours: neither code nor configuration was published",
    "supervised": "ours: the row's network and steps",
}


def merged(base: Any, over: Any) -> Any:
    """`over` wins, objects are merged. One with a name is a method, dataset or encoder: of another nothing is kept."""
    if not isinstance(over, Mapping) or not isinstance(base, Mapping):
        return copy.deepcopy(over)
    if over.get("name", base.get("name")) != base.get("name"):
        return copy.deepcopy(over)
    return {**base, **{name: merged(base.get(name), value) for name, value in over.items()}}


def _preset(row_name: str, method: str) -> Preset:
    row = ROWS[row_name]
    options = row.infmasking if method == "infmasking" else {"temperature": 0.1} if method == "comm" else {}
    spec: Json = {
        "method": {"name": method, **options},
        "dataset": row.dataset,
        "model": row.model,
        "optim": row.optim,
        "epochs": row.epochs,
        "batch_size": 64,
    }
    if row.ours is None:
        published = {"protocol": "reference", "probe": {"every_epochs": 1, "patience": row.patience}}
        spec = merged(merged(spec, published), COMMON.get(method, {}))
    else:
        spec = merged(spec, row.ours)
    spec = merged(spec, row.own.get(method, {}))
    if method == "supervised" and row.dataset.get("biased"):
        spec = merged(spec, UNBIASED)
    origin = (
        ORIGINS[method]
        if row.ours is None
        else "ours: the row's network and steps for every method, tuned for none"
    )
    if (row_name, method) == ("hateful-memes", "infmasking"):
        origin = "ours, as for MM-IMDb: the published code refuses this dataset"
    return Preset(f"{row_name}-{method.replace('_', '-')}", row_name, method, row.about, origin, spec)


PRESETS: dict[str, Preset] = {
    preset.name: preset for row in ROWS for preset in (_preset(row, method) for method in ROWS[row].methods)
}
