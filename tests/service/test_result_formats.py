"""Tables as text, whatever their names contain."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.result_formats import LATEX, _Latex, as_csv, as_latex, as_markdown
from service.schemas.results import Published, Shown, TableCell, TableColumn, TableRow, TableView

HOSTILE = [
    "=HYPERLINK(\"http://x\",\"y\")", "+1+1", "-2+3", "@SUM(A1)", "\t=1", " =1", "＝1", "a|b", "**bold** _it_", "<script>x</script>",
    "`code`", "[link](javascript:x)", r"\input{/etc/passwd}", "100 % & #1 $x$ a_b {c} ~ ^", "two\nlines\r\nof | text",
    "\x1b[31mred\x1b[0m", 'quo"te, comma', "&lt;b&gt;", "![](http://x/y.png)", r"\| a", "…×10⁻⁴ ±", "[2cm]", "*", "'=1", "''",
    "a--b ?`c` ,,d,, e'' – —", "\u202eevil\u202c 🧨 لا \u200b", "ä" * 255, '"\n"', ";,\t|\r\n;",
]  # fmt: skip
COMPUTED = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")
"""What a cell starts with that spreadsheets compute."""
ANY_TEXT = st.text() | st.text("\\{}%&#_^~$<>|\"`'-–—,[]*=+@ab \n\t🧨لا\u202e", max_size=40)


def view(name: str = "InfMasking", **columns: Any) -> TableView:
    """A row, two columns, two published numbers; `name` stands wherever a name may."""
    ran = {
        "column": "synergy", "state": "ran", "reason": None, "preset": "p", "group_sha256": "0" * 64, "mean": 0.76,
        "std": 0.02, "n": 3, "interval": (0.71, 0.81), "chance": 0.5, "seeds": [], "job_ids": ["job_1", "job_2"],
        "shown": Shown(mean=76.0, std=2.0, interval=(71.0, 81.0), chance=50.0, text="76.00 ± 2.00"),
        "published": [
            Published(
                value=0.77, std=0.0422, n=5, unit="fraction", printed="77.0 ± 4.22", ran_by=name, source=name,
                primary=True, table="t", row=name,
            )
        ],
        "verdict": "within_1_std", "difference": -0.01, "mark": "best", "comparisons": [],
    }  # fmt: skip
    missing = {
        "column": "error", "state": "not_run", "reason": name, "preset": None, "group_sha256": None, "mean": None, "std": None,
        "n": 0, "interval": None, "chance": None, "seeds": [], "job_ids": [], "shown": None, "published": [],
        "verdict": None, "difference": None, "mark": None, "comparisons": [],
    }  # fmt: skip
    common = {"title": name, "mean_of": [], "family": "other", "split": "test", "dataset": name, "task": name}
    return TableView(
        id="t", title=name, source=name, version=1, protocol="strict",
        columns=[
            TableColumn(id="synergy", metric="macro_accuracy", unit="percent", better="higher", chance=0.5, **common),  # type: ignore[arg-type]
            TableColumn(id="error", metric="mse", unit="mse_e4", better="lower", chance=None, **common),  # type: ignore[arg-type]
        ],
        rows=[
            TableRow(
                id="infmasking", label=name, method="infmasking", upper_bound=False,
                cells=[TableCell.model_validate(ran | columns), TableCell.model_validate(missing)],
            )
        ],
    )  # fmt: skip


def test_markdown_reads_well() -> None:
    assert as_markdown(view()) == (
        "### InfMasking. InfMasking\n\n"
        "| method | run by | InfMasking, % | InfMasking, MSE × 10⁻⁴ ↓ |\n"
        "| --- | --- | ---: | ---: |\n"
        "| InfMasking | here | **76.00 ± 2.00 (n = 3, within 1 std)** | not run |\n"
        r"|  | InfMasking \[1\] | 77.0 ± 4.22 | – |" + "\n"
        "| chance |  | 50.00 | – |\n\n"
        "Here: trainings and linear probes by the protocol 'strict', scored on test data by macro accuracy, mse; "
        "mean ± sample standard deviation over n seeds.\n\n"
        "**Best of its column: better than every other, by paired t-tests over equal seeds, p < 0.05 after Holm's "
        "correction.**\n\n"
        "Within 1 or 2 std: of the published mean, by the published standard deviation.\n\n"
        "Not run: InfMasking.\n\n"
        r"\[1\] Run by InfMasking: InfMasking." + "\n"
    ).replace("p < 0.05", r"p \< 0.05")


def test_latex_reads_well() -> None:
    body = as_latex(view()).split(r"\midrule")[1]
    assert body == (
        "\n"
        r"InfMasking & here & \textbf{76.00 $\pm$ 2.00 (n = 3, within 1 std)} & not run \\" + "\n"
        r" & InfMasking [1] & 77.0 $\pm$ 4.22 & -- \\" + "\n"
        r"chance &  & 50.00 & -- \\" + "\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"verdict": "no_std"}, "n = 3, -1.00 to published"),
        ({"verdict": "other_spec", "difference": None}, "n = 3, other spec"),
        ({"verdict": "outside"}, "n = 3, outside 2 std"),
        ({"verdict": None, "difference": None}, "(n = 3)"),
        ({"mark": "tied"}, "_76.00 ± 2.00"),
        ({"mark": None}, "| 76.00 ± 2.00"),
    ],
)
def test_a_cell_says_how_it_stands_to_the_published_number(columns: dict[str, Any], text: str) -> None:
    assert text in as_markdown(view(**columns))


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_hostile_names_as_they_are(name: str) -> None:
    markdown = as_markdown(view(name))
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(table) == 5  # nothing has broken a line in two
    for line in table:
        unescaped = line.replace(r"\\", "").replace(r"\|", "")
        assert unescaped.count("|") == 5  # nor made a cell of its own
    for dangerous in ("<script", "![", "](", "`code", "\x1b", "http://", "|b"):
        assert dangerous not in markdown.replace(f"\\{dangerous[0]}", ""), markdown


@pytest.mark.parametrize("name", HOSTILE)
def test_latex_shows_hostile_names_as_they_are(name: str) -> None:
    latex = as_latex(view(name))
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 4
    for row in rows:
        bare = row.replace(r"\&", "").removesuffix(r"\\")
        assert bare.count("&") == 3
        for character in "#_%":
            assert character not in row.replace(f"\\{character}", "")
    assert r"\input" not in latex
    assert "\x1b" not in latex
    assert len([line for line in latex.splitlines() if not line.startswith("%")]) == 9
    for row in rows:  # what ends a row, and what rules it off, takes a bracket or a star for its own
        assert not row.startswith(("[", "*"))


def plain(text: str) -> str:
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


@settings(deadline=None)  # whatever else the machine does
@given(ANY_TEXT)
def test_any_text_in_latex_is_that_text_and_nothing_else(text: str) -> None:
    """Read as LaTeX reads it: groups balance, and what is left beside our own commands is no special character."""
    back = {latex: character for character, latex in LATEX.items()} | {"{}": ""}
    ours = re.compile("|".join(sorted(map(re.escape, back), key=len, reverse=True)))
    latex = _Latex().escape(text)
    assert not set(ours.sub("", latex)) & set("\\{}$&#_%^~`"), latex
    assert ours.sub(lambda found: back[found[0]], latex) == plain(text)
    groups = re.sub(r"\\[{}]", "", latex)
    assert groups.count("{") == groups.count("}")
    for ligature in ("--", ",,", "''", "?`", "!`"):
        assert ligature not in ours.sub("·", latex)


@settings(deadline=None)  # whatever else the machine does
@given(ANY_TEXT)
def test_any_text_in_csv_is_one_cell_that_computes_nothing_and_comes_back(text: str) -> None:
    lines = list(csv.reader(io.StringIO(as_csv(view(text)))))
    assert {len(line) for line in lines} == {len(lines[0])}
    label = lines[0].index("label")
    for line in lines[1:]:
        assert not line[label].startswith(COMPUTED)
        assert line[label].removeprefix("'") == plain(text)


@pytest.mark.parametrize("name", HOSTILE)
def test_csv_holds_no_formula_and_comes_back_as_it_was(name: str) -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(view(name)))))
    assert len(lines) == 3  # two cells, and a published number of the first
    ran, published, missing = lines
    for line in lines:
        assert not any(value.startswith(COMPUTED) for value in line.values() if not _is_number(value))
        assert line["label"].removeprefix("'") == plain(name)
    assert (float(ran["value"]), float(ran["std"]), int(ran["n"])) == (76.0, 2.0, 3)
    assert (float(ran["low"]), float(ran["high"]), float(ran["difference"])) == (71.0, 81.0, -1.0)
    assert (float(published["value"]), float(published["std"])) == (77.0, 4.22)
    assert (ran["ran_by"], published["primary"], ran["protocol"]) == ("here", "yes", "strict")
    assert (missing["state"], missing["value"], missing["n"]) == ("not_run", "", "0")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
