"""What every loss returns, and the precision every loss is computed in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


class Loss(NamedTuple):
    """`loss` is the scalar to minimise; `terms` are its parts before weighting, by name, for curves."""

    loss: Tensor
    terms: dict[str, Tensor]


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Computes in float32 or better, whatever autocast the training runs in.

    A softmax over cosine / temperature needs more digits than bfloat16 has: at temperature 0.05 its logits reach 20,
    where bfloat16 numbers are 0.125 apart.
    """

    @functools.wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return function(*map(_widened, args), **{key: _widened(each) for key, each in kwargs.items()})  # type: ignore[arg-type]

    return inside


def _widened(value: object) -> object:
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    if isinstance(value, list | tuple):
        return [_widened(each) for each in value]
    if isinstance(value, dict):
        return {key: _widened(each) for key, each in value.items()}
    return value
