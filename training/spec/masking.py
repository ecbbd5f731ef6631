"""How much a method hides of its input: one number, a range to draw from at every step, or either per modality."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from training.spec.base import Spec

Ratio = Annotated[float, Field(ge=0, lt=1)]


class RatioRange(Spec):
    """Every step draws a ratio between `low` and `high`, all equally likely."""

    low: Ratio
    high: Ratio


MaskRatio = float | RatioRange


def _is_ratio(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


def _is_range(value: Any) -> bool:
    return isinstance(value, RatioRange) or (isinstance(value, dict) and set(value) == {"low", "high"})


def _is_ratio_or_range(value: Any) -> bool:
    if not _is_range(value):
        return _is_ratio(value)
    low, high = (value.low, value.high) if isinstance(value, RatioRange) else (value["low"], value["high"])
    return _is_ratio(low) and _is_ratio(high) and bool(low <= high)


def _checked(value: Any) -> Any:
    """One message for all that can be wrong, instead of one per form that the value might have meant."""
    named = isinstance(value, dict) and value and not _is_range(value)
    if not all(map(_is_ratio_or_range, value.values() if named else [value])):
        raise PydanticCustomError(
            "mask_ratio",
            "a mask ratio is a number of at least 0 and less than 1, or a range of two such numbers "
            '{"low": 0.5, "high": 0.9}, or either for every modality {"image": 0.7, "text": 0.3}',
        )
    return value


MaskRatios = Annotated[
    Annotated[Ratio | RatioRange | dict[str, Ratio | RatioRange], Field(union_mode="left_to_right")],
    BeforeValidator(_checked),
]


def check_covers(ratios: MaskRatio | dict[str, MaskRatio], names: Iterable[str]) -> None:
    """Raises PydanticCustomError unless ratios given per modality are given for each of `names` and no other."""
    if not isinstance(ratios, dict):
        return
    names = list(names)
    unknown, missing = sorted(set(ratios) - set(names)), [name for name in names if name not in ratios]
    if unknown or missing:
        raise PydanticCustomError(
            "mask_ratio_modalities",
            "mask_ratio {problem}; give one for each of {names}, or a single one for all",
            {
                "problem": f"names '{unknown[0]}', which the data does not have"
                if unknown
                else f"leaves out '{missing[0]}'",
                "names": ", ".join(names),
                "loc": "method.mask_ratio",
            },
        )
