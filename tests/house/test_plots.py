"""The pictures in docs/results/ show the numbers they are made of."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from tests.bench.plots import svg


def cell(*values: float, interval: tuple[float, float] | None = None) -> dict[str, Any]:
    return {
        "state": "ran" if values else "not_run",
        "mean": sum(values) / len(values) if values else None,
        "interval": interval,
        "seeds": [{"seed": 42 + at, "value": value} for at, value in enumerate(values)],
    }


def test_each_method_that_ran_has_its_seeds_mean_and_interval() -> None:
    columns = [
        {"id": "synergy", "title": "synergy", "chance": 0.5},
        {"id": "other", "title": "other", "chance": None},
    ]
    rows = [
        {"label": "<b>ours</b> & theirs", "cells": [cell(0.6, 0.8, interval=(0.5, 0.9)), cell(0.1)]},
        {"label": "single", "cells": [cell(0.7), cell(0.2)]},
        {"label": "absent", "cells": [cell(), cell(0.3)]},
    ]
    view = {"title": "A table", "protocol": "strict", "columns": columns, "rows": rows}
    drawn = ElementTree.fromstring(svg(view, ["synergy"]))
    kinds = [each.get("class") for each in drawn.iter() if each.get("class")]
    assert (kinds.count("seed"), kinds.count("mean"), kinds.count("whisker"), kinds.count("chance")) == (
        3,
        2,
        1,
        1,
    )
    texts = [each.text for each in drawn.iter() if each.tag.endswith("text")]
    assert "<b>ours</b> & theirs" in texts
    assert "absent" not in texts
    means = [float(each.get("cx", "")) for each in drawn.iter() if each.get("class") == "mean"]
    assert means[0] == means[1]  # both 70
