"""An export says in which precisions, and what it can never do is refused before it begins."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from training.spec import ExportSpec


def test_an_export_is_in_fp32_and_int8_unless_it_is_said_otherwise() -> None:
    spec = ExportSpec(run="model", name="small")
    assert (spec.precisions, spec.min_cosine, spec.max_score_drop) == (("fp32", "int8"), 0.99, 0.02)


def test_fp32_comes_first_whatever_the_order() -> None:
    assert ExportSpec(run="model", name="small", precisions=("fp16", "fp32")).precisions == ("fp32", "fp16")


@pytest.mark.parametrize(
    ("precisions", "said"),
    [
        (["int8"], "give it beside int8"),
        (["fp32", "int8", "int8"], "each precision once"),
        ([], "at least 1"),
        (["fp32", "int4"], "'fp32', 'int8' or 'fp16'"),
    ],
)
def test_an_export_that_cannot_be_is_refused(precisions: list[str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ExportSpec.model_validate({"run": "model", "name": "small", "precisions": precisions})
