"""What every spec is made of: frozen models that refuse unknown fields, and the few types that several share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
Seed = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
Protocol = Literal["reference", "strict"]
Penalty = Literal["norm", "squared"]
"""Of a linear classifier's weights: their Euclidean norm, as in the published code, or its square, as is usual."""


def whole(low: int, high: int) -> Any:
    return Field(strict=True, ge=low, le=high)


class Spec(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,  # a default can be wrong too, beside another field that was given
    )


def by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value
