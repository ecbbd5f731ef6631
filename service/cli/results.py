"""`fusebox results`: scores over seeds, and the tables of papers beside what was published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from service.cli.terminal import ApiKey, Server, connect, out, print_table
from service.client import DEFAULT_SERVER, Json

if TYPE_CHECKING:
    from service.schemas.results import Mark

MARKS: Mapping[Mark, str] = {"best": "bold green", "tied": "italic"}


def results(
    table: Annotated[
        str | None, typer.Option(help="A table, as it was published or as we made it: digits, trifeatures …")
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="json; of a table also markdown, csv or latex. By default for people on a terminal, markdown in a pipe.",
        ),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="strict or reference; by default the presets' own.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Without a table: only these scores.")] = None,
    metric: Annotated[str | None, typer.Option(help="Without a table: only these scores.")] = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Show what methods reach over seeds: fusebox results --table digits."""
    given = {"table": table, "protocol": protocol, "dataset": dataset, "metric": metric}
    asked = {name: value for name, value in given.items() if value is not None}
    wanted = format_ or ("markdown" if table is not None and not out.is_terminal else None)
    with connect(server, api_key) as client:
        if wanted is not None:
            typer.echo(client.results_text(**asked, format=wanted).removesuffix("\n"))
            return
        if table is None:
            _show_groups(client.results(**asked, compare="false")["data"])
        else:
            show_table(client.results(**asked))


def show_table(answer: Json) -> None:
    """A table as the server answers it, for people: the lines of its other formats, in colours."""
    from service import result_formats as formats
    from service.schemas.results import TableView

    view = TableView.model_validate(answer)
    heads = [Column(escape(formats.header(column)), justify="right") for column in view.columns]
    shown = Table("method", "run by", *heads, title=escape(view.title), box=None, pad_edge=False)
    before = None
    for line in formats.lines(view):
        label = line.label if line.label != before else ""
        shown.add_row(escape(label), escape(line.ran_by), *(_styled(*text) for text in line.texts))
        before = line.label
    print_table(shown)
    for note in formats.notes(view):
        out.print(_styled(note.text, note.mark), highlight=False)


def _styled(text: str, mark: Mark | None = None) -> str:
    return f"[{MARKS[mark]}]{escape(text)}[/]" if mark else escape(text)


def _show_groups(groups: list[Json]) -> None:
    if not groups:
        out.print(
            "No scores yet. Train a model, then probe it: fusebox jobs submit --kind probe --set run=JOB"
        )
        return
    shown = Table("dataset", "task", "metric", "split", "protocol", "method", box=None, pad_edge=False)
    for name in ("mean", "std", "n", "chance"):
        shown.add_column(name, justify="right")
    for group in groups:
        names = (group[name] for name in ("dataset", "task", "metric", "split", "protocol", "method"))
        numbers = (
            "" if group[name] is None else f"{group[name]:.4g}" for name in ("mean", "std", "n", "chance")
        )
        shown.add_row(*map(escape, names), *numbers)
    print_table(shown)
