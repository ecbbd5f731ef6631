"""`fusebox jobs metrics`: a job's curves as a table of their summaries, or all their points in a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from service.cli.terminal import ApiKey, Server, connect, out, print_table
from service.client import DEFAULT_SERVER, ClientError, Json

NUMBERS = ("last", "mean", "min", "max")


def metrics(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")],
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every point of every metric there.")
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write a file for TensorBoard into DIR/JOB: tensorboard --logdir DIR."
        ),
    ] = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Show a job's metrics, or write all their points as CSV or for TensorBoard."""
    with connect(server, api_key) as client:
        summaries = client.job_metrics(job)["data"]
        if not summaries:
            raise ClientError(f"{job} has logged no metrics so far")
        if csv is not None:
            _write(csv, client.metrics_file(job, "csv"))
        if tensorboard is not None:
            place = tensorboard / job
            place.mkdir(parents=True, exist_ok=True)
            _write(place / f"events.out.tfevents.{job}", client.metrics_file(job, "tfevents"))
    if csv is None and tensorboard is None:
        print_table(_table(summaries))


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    """All of it or nothing: what breaks off leaves no file that looks whole."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.writelines(pieces)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    out.print(f"{path}: {path.stat().st_size:,} bytes", highlight=False, markup=False)


def _table(summaries: list[Json]) -> Table:
    table = Table("metric", box=None, pad_edge=False)
    for name in ("points", "last step", *NUMBERS):
        table.add_column(name, justify="right")
    for each in summaries:
        numbers = ("" if each[name] is None else f"{each[name]:.5g}" for name in NUMBERS)
        table.add_row(escape(each["name"]), f"{each['n']:,}", str(each["last_step"]), *numbers)
    return table
