"""A table as people paste it: Markdown, LaTeX and CSV.

In Markdown and LaTeX each line holds what one party ran of one method: first what was run here, then each published line.
CSV has a line for each number. All names come from elsewhere: they are put into one line and escaped. A cell of CSV can be no
formula, and comes back as it was when one apostrophe at its start is taken away.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from service.references import SHOWN_PER_OWN
from service.schemas.results import Mark, Published, TableCell, TableColumn, TableRow, TableView

HERE = "here"
UNITS = {"percent": "%", "mse_e4": "MSE × 10⁻⁴"}
VERDICTS = {
    "within_1_std": "within 1 std",
    "within_2_std": "within 2 std",
    "outside": "outside 2 std",
    "other_spec": "other spec",
}
MEANINGS: Mapping[Mark, str] = {
    "best": "Best of its column: better than every other, by paired t-tests over equal seeds, p < 0.05 after Holm's "
    "correction.",
    "tied": "Tied: the best mean of its column, and those that are not significantly worse.",
}
CSV_COLUMNS = (
    "table", "protocol", "row", "label", "column", "title", "dataset", "task", "metric", "split", "unit", "better",
    "ran_by", "source", "primary", "state", "value", "std", "n", "low", "high", "chance", "verdict", "difference", "mark",
    "group_sha256", "job_ids",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""What spreadsheets take a text for a formula by. In CSV an apostrophe keeps them from it, and stands before one of a text's own."""
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\textasciicircum{}", "`": r"\textasciigrave{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "×": r"$\times$", "⁻⁴": r"$^{-4}$", "…": r"\ldots{}",
    "↓": r"$\downarrow$", "–": "--", "—": "---",
}  # fmt: skip


class Text(NamedTuple):
    """Of one cell, as it is read."""

    text: str
    mark: Mark | None = None


class Line(NamedTuple):
    label: str
    ran_by: str
    """With the number of its source, where there is one."""
    texts: Sequence[Text]
    """By column."""


class Note(NamedTuple):
    mark: Mark | None
    """That it explains, and looks like."""
    text: str


def as_markdown(view: TableView) -> str:
    return _page(view, _Markdown())


def as_latex(view: TableView) -> str:
    """A tabular for booktabs; what is said of it stands in comments."""
    return _page(view, _Latex())


def as_csv(view: TableView) -> str:
    """A line for each number, here or published, in the column's unit; cells that were not run have one without."""
    file = io.StringIO()
    writer = csv.DictWriter(file, CSV_COLUMNS)
    writer.writeheader()
    for row in view.rows:
        for column, cell in zip(view.columns, row.cells, strict=True):
            place = _place(view, row, column)
            writer.writerow(guarded(place | _ours(column, cell)))
            for each in cell.published:
                writer.writerow(guarded(place | _theirs(column, each)))
    return file.getvalue()


FORMATS: Mapping[str, tuple[str, Callable[[TableView], str]]] = {
    "csv": ("text/csv", as_csv),
    "markdown": ("text/markdown", as_markdown),
    "latex": ("application/x-tex", as_latex),
}
"""Format → media type, and the function that writes it."""


def header(column: TableColumn) -> str:
    return f"{column.title}, {UNITS[column.unit]}" + (" ↓" if column.better == "lower" else "")


def lines(view: TableView) -> list[Line]:
    """The table's lines in their order, chance last where it is known."""
    number = {source: place for place, source in enumerate(sources(view), start=1)}
    found = []
    for row in view.rows:
        ours = [
            Line(
                row.label,
                HERE,
                [_our_text(column, cell) for column, cell in zip(view.columns, row.cells, strict=True)],
            )
        ]
        said = list(
            dict.fromkeys((each.ran_by, each.source) for cell in row.cells for each in cell.published)
        )
        theirs = [
            Line(
                row.label,
                f"{ran_by} [{number[ran_by, source]}]",
                [_their_text(cell, ran_by, source) for cell in row.cells],
            )
            for ran_by, source in said
        ]
        found += (ours if row.method is not None else []) + theirs
    if any(column.chance is not None for column in view.columns):
        found.append(Line("chance", "", [Text(_chance(column)) for column in view.columns]))
    return found  # fmt: skip


def sources(view: TableView) -> list[tuple[str, str]]:
    """Who ran something, and where it is printed, in the order of their first number."""
    every = (each for row in view.rows for cell in row.cells for each in cell.published)
    return list(dict.fromkeys((each.ran_by, each.source) for each in every))


def notes(view: TableView) -> list[Note]:
    """What the numbers are, what the marks mean, what is missing, and who ran what was published."""
    cells = [cell for row in view.rows for cell in row.cells]
    metrics = dict.fromkeys(column.metric.replace("_", " ") for column in view.columns)
    said = [
        Note(
            None,
            f"Here: trainings and linear probes by the protocol '{view.protocol}', scored on test data by "
            f"{', '.join(metrics)}; mean ± sample standard deviation over n seeds.",
        )
    ]
    marked = {cell.mark for cell in cells}
    said += [Note(mark, text) for mark, text in MEANINGS.items() if mark in marked]
    if any(cell.verdict in ("within_1_std", "within_2_std", "outside") for cell in cells):
        said.append(
            Note(None, "Within 1 or 2 std: of the published mean, by the published standard deviation.")
        )
    missing = dict.fromkeys(
        cell.reason for row in view.rows if row.method for cell in row.cells if cell.reason
    )
    if missing:
        said.append(Note(None, f"Not run: {'; '.join(missing)}."))
    return said + [
        Note(None, f"[{place}] Run by {ran_by}: {source}.")
        for place, (ran_by, source) in enumerate(sources(view), 1)
    ]


class _Markdown:
    marks: Mapping[Mark, str] = {"best": "**{}**", "tied": "_{}_"}

    def escape(self, text: str) -> str:
        return re.sub(r"([\\`*_\[\]<>|~$]|&(?=#?\w+;))", r"\\\1", _plain(text)).replace("://", r"\://")

    def page(self, title: str, head: list[str], body: list[list[str]], said: list[str]) -> str:
        rule = ["---", "---", *["---:"] * (len(head) - 2)]
        table = [f"| {' | '.join(cells)} |" for cells in (head, rule, *body)]
        return "\n\n".join([f"### {title}", "\n".join(table), *said]) + "\n"


class _Latex:
    marks: Mapping[Mark, str] = {"best": r"\textbf{{{}}}", "tied": r"\underline{{{}}}"}

    def escape(self, text: str) -> str:
        """Neighbours that would become a longer dash or a quote are kept apart by an empty group."""

        def escaped(found: re.Match[str]) -> str:
            shown = LATEX.get(found[0], found[0])
            return f"{shown}{{}}" if found["apart"] else shown

        return re.sub(r"⁻⁴|(?P<apart>[-–—](?=[-–—])|,(?=,)|'(?='))|.", escaped, _plain(text))

    def page(self, title: str, head: list[str], body: list[list[str]], said: list[str]) -> str:
        # What stands before a row, `\\` or `\midrule`, would take a bracket or a star for its own.
        rows = [
            f"{'{}' if cells[0].startswith(('[', '*')) else ''}{' & '.join(cells)} " + r"\\"
            for cells in (head, *body)
        ]
        return "\n".join(
            [
                *(f"% {each}" for each in (title, *said)),
                r"\begin{tabular}{ll" + "r" * (len(head) - 2) + "}",
                r"\toprule",
                rows[0],
                r"\midrule",
                *rows[1:],
                r"\bottomrule",
                r"\end{tabular}",
                "",
            ]
        )


def _page(view: TableView, style: _Markdown | _Latex) -> str:
    def shown(text: str, mark: Mark | None = None) -> str:
        return style.marks[mark].format(style.escape(text)) if mark else style.escape(text)

    body, before = [], None
    for line in lines(view):
        label = line.label if line.label != before else ""
        body.append([shown(label), shown(line.ran_by), *(shown(*text) for text in line.texts)])
        before = line.label
    title = view.title if view.source is None else f"{view.title}. {view.source}"
    head = ["method", "run by", *(shown(header(column)) for column in view.columns)]
    return style.page(shown(title), head, body, [shown(note.text, note.mark) for note in notes(view)])


def _our_text(column: TableColumn, cell: TableCell) -> Text:
    if cell.shown is None:
        return Text("not run")
    said = [f"n = {cell.n}"]
    if cell.verdict in VERDICTS:
        said.append(VERDICTS[cell.verdict])
    elif cell.difference is not None:
        said.append(f"{cell.difference * SHOWN_PER_OWN[column.unit]:+.2f} to published")
    return Text(f"{cell.shown.text} ({', '.join(said)})", cell.mark)


def _their_text(cell: TableCell, ran_by: str, source: str) -> Text:
    of = [each for each in cell.published if (each.ran_by, each.source) == (ran_by, source)]
    return Text("; ".join(each.printed for each in of) or "–")


def _chance(column: TableColumn) -> str:
    return "–" if column.chance is None else f"{column.chance * SHOWN_PER_OWN[column.unit]:.2f}"


def _place(view: TableView, row: TableRow, column: TableColumn) -> dict[str, object]:
    return {
        "table": view.id, "protocol": view.protocol, "row": row.id, "label": row.label, "column": column.id,
        "title": column.title, "dataset": column.dataset, "task": column.task, "metric": column.metric,
        "split": column.split, "unit": column.unit, "better": column.better,
    }  # fmt: skip


def _ours(column: TableColumn, cell: TableCell) -> dict[str, object]:
    shown = cell.shown
    low, high = (shown.interval if shown else None) or (None, None)
    return {
        "ran_by": HERE, "state": cell.state, "value": shown.mean if shown else None, "std": shown.std if shown else None,
        "n": cell.n, "low": low, "high": high, "chance": shown.chance if shown else None, "verdict": cell.verdict,
        "difference": _in_unit(column, cell.difference), "mark": cell.mark, "group_sha256": cell.group_sha256,
        "job_ids": " ".join(cell.job_ids),
    }  # fmt: skip


def _theirs(column: TableColumn, each: Published) -> dict[str, object]:
    return {
        "ran_by": each.ran_by, "source": each.source, "primary": "yes" if each.primary else "no", "state": "published",
        "value": _in_unit(column, each.value), "std": _in_unit(column, each.std), "n": each.n,
    }  # fmt: skip


def _in_unit(column: TableColumn, own: float | None) -> float | None:
    return None if own is None else round(own * SHOWN_PER_OWN[column.unit], 9)


def guarded(fields: Mapping[str, object]) -> dict[str, object]:
    """Numbers stay numbers; a text that a spreadsheet would compute gets an apostrophe, and so does one that starts with one."""

    def safe(value: object) -> object:
        if not isinstance(value, str):
            return value
        text = _plain(value)
        return f"'{text}" if text.startswith((*FORMULA, "'")) else text

    return {name: safe(value) for name, value in fields.items()}


def _plain(text: str) -> str:
    """In one line, without characters that a terminal or a page might obey."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
