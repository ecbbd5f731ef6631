"""The tables: every number as it was printed, every cell with a run behind it, and files with mistakes refused."""

from __future__ import annotations

import re

import pytest
import yaml
from pydantic import ValidationError

from service import references
from service.errors import NotFoundError
from service.references import FILE, Cell, Column, Table
from tests.published import lookup
from training.spec import TrainSpec
from training.spec.train import METRICS

PRINTED = {
    "trifeatures": (
        "redundancy uniqueness synergy",
        """
        cross         CoMM        100.0 | 11.6 | 50.0
        cross_self    CoMM        99.7 | 86.9 | 50.0
        factorcl      CoMM        99.8 | 62.5 | 46.5
        mae           InfMasking  99.8±0.11 | 82.4±3.09 | 50.1±0.24
        comm          InfMasking  99.9±0.06 | 86.8±2.99 | 71.4±3.47
        infmasking    InfMasking  99.9±0.09 | 90.6±2.31 | 77.0±4.22
        """,
    ),
    "multibench": (
        "vision-touch-ee mimic mosi ur-funny mustard average",
        """
        cross         CoMM        33.09±3.67 | 66.7±0.1 | 47.8±1.8 | 50.1±1.9 | 53.5±2.9 | 54.52
        cross_self    CoMM        7.56±0.31 | 65.49±0.0 | 49.0±1.1 | 59.9±0.9 | 53.9±4.0 | 57.07
        factorcl      CoMM        10.82±0.56 | 67.3±0.0 | 51.2±1.6 | 60.5±0.8 | 55.80±0.9 | 58.7
        comm          InfMasking  7.96±2.13 | 66.4±0.41 | 63.7±2.5 | 63.3±0.51 | 64.4±1.1 | 64.45
        comm          CoMM        4.55 | 66.4 | 67.5 | 63.1 | 63.9 | 65.22
        infmasking    InfMasking  4.23±0.37 | 68.1±0.42 | 69.0±1.2 | 64.3±0.9 | 66.8±2.5 | 67.05
        """,
    ),
    "multibench-3": (
        "vision-touch-cp ur-funny",
        """
        cross-2       InfMasking  86.3±0.25 | -
        cross-2       CoMM        - | 50.1
        cross-2       CoMM        84.4 | -
        cross_self-2  InfMasking  87.6±0.26 | -
        cross_self-2  CoMM        - | 59.9
        cross_self-2  CoMM        86.8 | -
        comm-2        InfMasking  85.3±0.84 | 63.3±0.51
        comm-2        CoMM        88.1 | 63.1
        infmasking-2  InfMasking  88.5±0.33 | 64.3±0.9
        cmc-3         CoMM        94.1 | 59.2
        comm-3        InfMasking  94.1±0.17 | 64.8±1.13
        comm-3        CoMM        94.2 | 64.6
        infmasking-3  InfMasking  94.1±0.09 | 65.6±1.15
        """,
    ),
    "mmimdb": (
        "f1_weighted f1_macro",
        """
        simclr        CoMM        40.35±0.23 | 27.99±0.33
        clip-v        CoMM        51.5 | 40.8
        clip-l        CoMM        51.0 | 43.0
        clip-vl       CoMM        58.9±0.0 | 50.9±0.0
        slip          CoMM        56.54±0.19 | 47.35±0.27
        cross         CoMM        54.49±0.19 | 44.94±0.30
        comm          InfMasking  61.29±0.73 | 53.79±0.22
        comm          CoMM        61.48 | 54.63
        infmasking    InfMasking  62.60±0.26 | 55.93±0.19
        """,
    ),
}
"""Typed off the READMEs a second time: row, whose authors ran it, and its cells in the order of the columns."""
OURS = ("digits", "digits-masks", "trifeatures-small")
SMALL = """
version: 1
tables:
  - id: small
    title: Small
    columns:
      - {id: one, title: one, preset_row: mosi, task: sentiment, family: other, metric: accuracy, unit: percent}
      - {id: mean, title: mean, mean_of: [one], family: other, metric: accuracy, unit: percent}
    rows:
      - {id: cross, label: Cross, method: cross}
    published:
      - {ran_by: them, source: a paper, primary: true, values: {cross: {one: [50.0, 1.0], mean: 50.0}}}
"""


def printed(table: str) -> set[tuple[object, ...]]:
    columns, lines = PRINTED[table]
    found = set()
    for line in lines.strip().splitlines():
        row, ran_by, values = line.split(maxsplit=2)
        for column, value in zip(columns.split(), values.split(" | "), strict=True):
            if value != "-":
                mean, _, std = value.partition("±")
                found.add((row, column, f"{ran_by}'s authors", float(mean), float(std) if std else None))
    return found


def measured(table: Table) -> list[tuple[str, Column]]:
    """Every cell that a run here fills: its row's id and column."""
    return [
        (row.id, column)
        for row in table.rows if row.method
        for column in table.columns if not column.mean_of
    ]  # fmt: skip


def test_the_tables_are_the_published_ones_and_ours() -> None:
    assert tuple(references.tables()) == (*PRINTED, *OURS)
    assert [table.id for table in references.tables().values() if not table.cells] == list(OURS)


@pytest.mark.parametrize("table", PRINTED)
def test_every_number_is_as_it_was_printed(table: str) -> None:
    cells = references.table(table).cells
    assert {(each.row, each.column, each.ran_by, each.value, each.std) for each in cells} == printed(table)
    assert len(cells) == len(printed(table))


@pytest.mark.parametrize("table", PRINTED)
def test_verdicts_go_by_the_paper_whose_table_it_is(table: str) -> None:
    for cell in references.table(table).cells:
        assert cell.primary == cell.source.startswith("InfMasking's README"), cell
        assert cell.n in ((5,) if cell.ran_by.startswith("InfMasking") or not cell.primary else (None,))


@pytest.mark.parametrize("table", [*PRINTED, *OURS])
def test_every_cell_that_has_a_method_has_a_run_that_is_valid_and_solves_its_task(table: str) -> None:
    checked: dict[str, TrainSpec] = {}
    for row_id, column in measured(references.table(table)):
        raw = references.table(table).spec_of(row_id, column.id, seed=43)
        assert raw is not None, f"{row_id} has no preset in {column.preset_row}"
        spec = checked.setdefault(repr(raw), TrainSpec.model_validate(raw, context={"datasets": lookup}))
        (task,) = [each for each in spec.dataset.tasks if each.name == column.task]
        assert column.metric in METRICS[task.type]
        assert column.family == task.family
        assert (spec.seed, spec.method.name) == (43, references.table(table).row(row_id).method)
        assert spec.dataset.name == references.table(table).dataset_of(column.id)


def test_rows_of_two_modalities_take_presets_of_two() -> None:
    table = references.table("multibench-3")
    assert table.preset_of("comm-2", "ur-funny") == "ur-funny-comm"
    assert table.preset_of("comm-3", "ur-funny") == "ur-funny-3-comm"
    assert table.preset_of("infmasking-2", "vision-touch-cp") == "vision-touch-cp-infmasking"


def test_a_rows_changes_then_those_asked_for_are_merged_into_its_preset() -> None:
    table = references.table("digits-masks")
    spec = table.spec_of("t64", "synergy", seed=7, changes={"epochs": 1, "method": {"mask_ratio": 0.5}})
    assert spec is not None
    assert spec["method"] == {"name": "infmasking", "n_masks": 64, "mask_ratio": 0.5}
    assert (spec["epochs"], spec["seed"]) == (1, 7)
    assert table.spec_of("t64", "synergy", seed=7, changes={"seed": 1}) == table.spec_of(
        "t64", "synergy", seed=7
    )
    assert table.spec_of("t64", "uniqueness", seed=7) is None
    assert references.table("mmimdb").spec_of("clip-vl", "f1_macro", seed=7) is None


def test_a_column_that_is_a_mean_is_measured_by_its_parts() -> None:
    table = references.table("trifeatures")
    assert [each.id for each in table.measured("uniqueness")] == ["texture1", "texture2"]
    assert [each.id for each in table.measured("synergy")] == ["synergy"]


def test_upper_bounds_stand_last_and_methods_in_the_papers_order() -> None:
    assert references.methods()[-3:] == ("comm", "infmasking", "supervised")
    for table in references.tables().values():
        bounds = [row.upper_bound for row in table.rows]
        assert not any(bounds[:-1])
        assert bounds[-1] == (table.rows[-1].method == "supervised")
        order = [references.methods().index(row.method) for row in table.rows if row.method]
        if table.id not in ("mmimdb", "multibench-3"):  # whose rows are in blocks
            assert order == sorted(order)


def test_printed_numbers_and_the_probes_own_lead_to_each_other() -> None:
    for table in references.tables().values():
        for cell in table.cells:
            column = table.column(cell.column)
            assert column.shown(column.own(cell.value)) == cell.value
    assert references.table("multibench").column("vision-touch-ee").own(4.23) == 0.000423
    assert references.table("trifeatures").column("synergy").own(77.0) == 0.77


def test_an_unknown_table_row_or_column_is_told_which_there_are() -> None:
    with pytest.raises(NotFoundError, match=r"no table 'x'; there are trifeatures, .*, digits"):
        references.table("x")
    with pytest.raises(NotFoundError, match=r"no row of the table 'digits' 'x'; there are cross,"):
        references.table("digits").row("x")
    with pytest.raises(NotFoundError, match=r"no column of the table 'digits' 'x'; there are redundancy,"):
        references.table("digits").column("x")


# ------------------------------------------------------------------------------------------- files with mistakes


def test_a_small_file_is_read() -> None:
    (table,) = references.read(SMALL).tables
    assert table.cells == (
        Cell(row="cross", column="one", value=50, std=1, n=None, ran_by="them", source="a paper", primary=True),
        Cell(row="cross", column="mean", value=50, std=None, n=None, ran_by="them", source="a paper", primary=True),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: 1", "version: 0", "version"),
        ("label: Cross", "lable: Cross", "lable"),
        ("metric: accuracy", "metric: hits", "metric"),
        ("unit: percent", "unit: parts", "unit"),
        ("[50.0, 1.0]", "[50.0, -1.0]", "greater than or equal to 0"),
        ("[50.0, 1.0]", ".nan", "finite"),
        ("id: one", "id: mean", "'mean' twice"),
        ("mean_of: [one]", "mean_of: [two]", "names 'two'; there are one"),
        ("mean_of: [one]", "mean_of: [mean]", "names 'mean'; there are one"),
        ("preset_row: mosi, ", "", "needs preset_row and task, or mean_of"),
        ("preset_row: mosi", "mean_of: [one], preset_row: mosi", "not both"),
        ("mean_of: [one]", "mean_of: [one], better: sideways", "better"),
        ("mean_of: [one], family: other, metric: accuracy, unit: percent",
         "mean_of: [one], family: other, metric: mse, unit: mse_e4", "other units"),
        ("values: {cross:", "values: {comm:", "names 'comm'; there are cross"),
        ("mean: 50.0}", "two: 50.0}", "names 'two'"),
        ("primary: true", "primary: false", "exactly one primary value at cross/mean"),
        ("method: cross}", "method: cross, presets: {two: mosi}}", "presets of row 'cross' names 'two'"),
    ],
)  # fmt: skip
def test_a_file_with_a_mistake_is_refused_and_says_where(old: str, new: str, message: str) -> None:
    assert old in SMALL
    with pytest.raises(ValidationError, match=re.escape(message)):
        references.read(SMALL.replace(old, new))


def test_a_table_or_a_primary_value_that_stands_there_twice_is_refused() -> None:
    whole = yaml.safe_load(SMALL)
    with pytest.raises(ValidationError, match="two tables 'small'"):
        references.read(yaml.safe_dump(whole | {"tables": whole["tables"] * 2}))
    whole["tables"][0]["published"] *= 2
    with pytest.raises(ValidationError, match="exactly one primary value at cross/"):
        references.read(yaml.safe_dump(whole))


def test_the_file_is_in_the_package() -> None:
    assert FILE.is_file()
    assert references.references().version >= 1
