"""What the classes of a dataset's tasks are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from training.data.rendering import COLORS, SHAPES, TEXTURES
from training.spec import DatasetSpec, Digits, Registered
from training.spec.registration import numbered, read_registered

DIGITS = tuple(str(digit) for digit in range(10))
RELATION = ("unrelated", "partners")
IN_DIGITS: Mapping[str, Sequence[str]] = {
    "digit": DIGITS,
    "share": ("even", "odd"),
    "unique1": DIGITS,
    "unique2": DIGITS,
    "synergy": RELATION,
}
IN_TRIFEATURES: Mapping[str, Sequence[str]] = {
    "shape": SHAPES,
    "color": tuple(COLORS),
    "texture": TEXTURES,
    "share": SHAPES,
    "unique1": TEXTURES,
    "unique2": TEXTURES,
    "synergy": RELATION,
}


def class_names(spec: DatasetSpec, datasets_dir: Path) -> dict[str, Sequence[str]]:
    """Task → names of its classes, labels or numbers, in their order. Raises OSError or pydantic.ValidationError when a
    registered dataset's report cannot be read."""
    if not isinstance(spec, Registered):
        names = IN_DIGITS if isinstance(spec, Digits) else IN_TRIFEATURES
        return {task.name: names[task.name] for task in spec.tasks}
    _, report = read_registered(datasets_dir, spec.sha256)
    return {task.name: report.counted(task) or numbered(task) for task in spec.tasks}
