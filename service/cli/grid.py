"""A replication as it fills in: rows and seeds with a mark for each cell on a terminal, a line for each change in a pipe."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from service.cli.following import span
from service.cli.terminal import out
from service.client import ApiProblem, Client, Json, UnreachableError
from service.states import TERMINAL

LOOK_S = 1.0
MARKS: Mapping[str, tuple[str, str]] = {
    "queued": ("·", "dim"),
    "running": ("▸", "cyan"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "cancelled": ("–", "yellow"),
    "lost": ("?", "red"),
}
"""Cell state → what stands for it, and in which colour."""


def follow(client: Client, replication: Json) -> Json:
    """Shows the grid until all has ended, and returns it as it is then. A server that is gone for a while is waited for.

    Raises ClientError when the server does not let us see it.
    """
    if not out.is_terminal:
        return _tell(client, replication)
    latest = replication
    with Live(drawn(latest), console=out, refresh_per_second=4) as live:
        for latest in _looks(client, replication):
            live.update(drawn(latest))
    return latest


def drawn(replication: Json) -> Group:
    """The grid, and below it how much of it is done and what went wrong."""
    cells: dict[str, dict[int, Json]] = {}
    for cell in replication["cells"]:
        cells.setdefault(_row(replication, cell), {})[cell["seed"]] = cell
    seeds = sorted({cell["seed"] for cell in replication["cells"]})
    table = Table("", *(f"seed {seed}" for seed in seeds), box=None, pad_edge=False)
    for row, of_row in cells.items():
        table.add_row(escape(row), *(_mark(of_row[seed]) if seed in of_row else Text("") for seed in seeds))
    wrong = [
        Text(f"{_name(replication, cell)}: {error}", style="red")
        for cell in replication["cells"]
        if (error := error_of(cell))
    ]
    more = [Text(f"… and {len(wrong) - 5} more", style="red")] if len(wrong) > 5 else []
    return Group(table, Text(_counted(replication), style="dim"), *wrong[:5], *more)


def error_of(cell: Json) -> str | None:
    """Why a cell failed; what only follows from another's failure is not told."""
    for job in (cell["training"], cell["probe"]):
        if job is not None and job["state"] == "failed":
            return str(job["error"] or job["reason"])
    return None


def _looks(client: Client, replication: Json) -> Iterator[Json]:
    """The replication as it is, now and then until it has ended."""
    yield replication
    while replication["state"] not in TERMINAL:
        time.sleep(LOOK_S)
        try:
            replication = client.replication(replication["id"], results=False)
        except UnreachableError:
            continue
        except ApiProblem as problem:
            if problem.status < 500:
                raise
            continue
        yield replication


def _tell(client: Client, replication: Json) -> Json:
    latest, before = replication, dict[str, str]()
    for latest in _looks(client, replication):
        for cell in latest["cells"]:
            name = _name(latest, cell)
            if before.get(name, "queued") != cell["state"]:
                error = error_of(cell)
                line = f"{name}: {cell['state']}" + (f", {error}" if error else "")
                out.print(line, markup=False, highlight=False, soft_wrap=True)
            before[name] = cell["state"]
    return latest


def _row(replication: Json, cell: Json) -> str:
    """With the preset's row only where the table has several."""
    several = len({each["preset_row"] for each in replication["cells"]}) > 1
    return f"{cell['row']} · {cell['preset_row']}" if several else str(cell["row"])


def _name(replication: Json, cell: Json) -> str:
    return f"{_row(replication, cell)}, seed {cell['seed']}"


def _mark(cell: Json) -> Text:
    mark, style = MARKS[cell["state"]]
    training, probe = cell["training"], cell["probe"]
    if cell["state"] != "running":
        return Text(mark, style=style)
    if training["state"] == "succeeded":
        return Text(f"{mark} probe" if probe["state"] != "queued" else f"{mark} probe soon", style=style)
    at = training["progress"]
    share = f" {100 * at['step'] // at['total']} %" if at.get("total") else ""
    return Text(mark + share, style=style)


def _counted(replication: Json) -> str:
    counts: Counter[str] = Counter(replication["counts"])
    left = [
        job["progress"]["eta_s"]
        for cell in replication["cells"]
        for job in (cell["training"], cell["probe"])
        if job is not None and job["state"] == "running" and job["progress"].get("eta_s")
    ]
    longest = f"; the longest at work ends in {span(max(left))}" if left else ""
    return ", ".join(f"{counts[state]} {state}" for state in MARKS if counts[state]) + longest
