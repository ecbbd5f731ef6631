"""A table of results as a picture: `fusebox results --table digits --format json | python -m tests.bench.plots > digits.svg`.

For each column a panel, for each method a line: every seed a faint dot, the mean a full one, and a whisker for the 95 %
interval of the mean. A dashed line marks chance.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from html import escape
from typing import Any

Json = dict[str, Any]
LETTER, PANEL, GAP, LINE, TOP, BOTTOM = 7, 210, 30, 24, 34, 44
STYLE = """text { font: 12px system-ui, sans-serif; fill: #16211f } .soft { fill: #5b6b68 } .grid { stroke: #d8e0de }
.chance { stroke: #8a5a00; stroke-dasharray: 4 3 } .mean { fill: #0b6e6e } .seed { fill: #0b6e6e; opacity: .3 }
.whisker { stroke: #0b6e6e; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #e4ecea } .soft { fill: #97a8a4 } .grid { stroke: #2c3836 }
.chance { stroke: #e6b450 } .mean, .seed { fill: #4fc3bd } .whisker { stroke: #4fc3bd } }"""


def svg(view: Json, columns: list[str]) -> str:
    """Of the columns asked for, in that order; all by default. Numbers are shown in percent."""
    places = {column["id"]: at for at, column in enumerate(view["columns"])}
    chosen = [places[name] for name in columns] if columns else list(places.values())
    rows = [row for row in view["rows"] if any(row["cells"][at]["state"] == "ran" for at in chosen)]
    labels = GAP + LETTER * max((len(row["label"]) for row in rows), default=0)
    width, height = labels + len(chosen) * (PANEL + GAP), TOP + len(rows) * LINE + BOTTOM
    parts = [f'<text x="0" y="{_y(at) + 4}">{escape(row["label"])}</text>' for at, row in enumerate(rows)]
    for place, at in enumerate(chosen):
        left = labels + place * (PANEL + GAP)
        parts += _panel(view["columns"][at], [row["cells"][at] for row in rows], left)
    title = escape(f"{view['title']}, protocol {view['protocol']}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        f"<title>{title}</title><style>{STYLE}</style>{''.join(parts)}</svg>\n"
    )


def _panel(column: Json, cells: list[Json], left: float) -> Iterator[str]:
    values = [100 * seed["value"] for cell in cells for seed in cell["seeds"]]
    ends = [100 * end for cell in cells for end in cell["interval"] or ()]
    chance = None if column["chance"] is None else 100 * column["chance"]
    known = [*values, *ends, *([] if chance is None else [chance])]
    low, high = max(0, math.floor(min(known) / 10) * 10), min(100, math.ceil(max(known) / 10) * 10)
    bottom = TOP + len(cells) * LINE

    def x(value: float) -> str:
        return f"{left + PANEL * (min(max(value, low), high) - low) / max(high - low, 1):.1f}"

    yield f'<text x="{left}" y="14">{escape(column["title"])}, %</text>'
    for tick in range(low, high + 1, 10 if high - low <= 60 else 20):
        yield f'<line class="grid" x1="{x(tick)}" x2="{x(tick)}" y1="{TOP - 10}" y2="{bottom}"/>'
        yield f'<text class="soft" x="{x(tick)}" y="{bottom + 16}" text-anchor="middle">{tick}</text>'
    if chance is not None:
        yield f'<line class="chance" x1="{x(chance)}" x2="{x(chance)}" y1="{TOP - 10}" y2="{bottom}"/>'
    for at, cell in enumerate(cells):
        for seed in cell["seeds"]:
            yield f'<circle class="seed" cx="{x(100 * seed["value"])}" cy="{_y(at)}" r="3"/>'
        if cell["interval"]:
            first, last = (x(100 * end) for end in cell["interval"])
            yield f'<line class="whisker" x1="{first}" x2="{last}" y1="{_y(at)}" y2="{_y(at)}"/>'
        if cell["mean"] is not None:
            yield f'<circle class="mean" cx="{x(100 * cell["mean"])}" cy="{_y(at)}" r="4.5"/>'


def _y(row: int) -> float:
    return TOP + row * LINE + LINE / 2


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("columns", nargs="*", help="e.g. redundancy uniqueness synergy; all by default")
    sys.stdout.write(svg(json.load(sys.stdin), parser.parse_args().columns))
