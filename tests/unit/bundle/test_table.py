from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.table import format_table, terminal_width


def test_columns_are_aligned_and_lines_have_no_trailing_space():
    assert format_table(("NAME", "N"), [("a", "1"), ("longer name", "22")]).splitlines() == [
        "NAME         N",
        "-----------  --",
        "a            1",
        "longer name  22",
    ]


def test_wide_and_combining_characters_are_counted_as_they_are_shown():
    assert format_table(("A", "B"), [("模型", "x"), ("e\u0301", "x")]).splitlines() == [
        "A     B",
        "----  -",
        "模型  x",
        "e\u0301     x",
    ]


def test_table_without_rows_has_its_header():
    assert format_table(("A", "B"), []) == "A  B\n-  -"


def test_widest_cells_go_on_below_where_the_table_is_too_wide():
    rows = [("1", "accuracy=0.98 loss=0.12 f1=0.9"), ("22", "-")]
    assert format_table(("N", "METRICS"), rows, width=20).splitlines() == [
        "N   METRICS",
        "--  ----------------",
        "1   accuracy=0.98",
        "    loss=0.12 f1=0.9",
        "22  -",
    ]


def test_a_word_is_broken_where_there_is_no_other_way():
    assert format_table(("FIELD", "VALUE"), [("hash", "a" * 20)], width=18).splitlines() == [
        "FIELD  VALUE",
        "-----  -----------",
        "hash   aaaaaaaaaaa",
        "       aaaaaaaaa",
    ]


CELLS = st.text("ab =模", max_size=40)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=4), st.integers(28, 90))
def test_nothing_is_lost_and_no_line_is_wider(rows, width):
    lines = format_table(("A", "B", "C"), rows, width=width).splitlines()
    assert max(len(line) + line.count("模") for line in lines) <= width
    kept = sorted("".join(lines[2:]).replace(" ", ""))
    assert kept == sorted("".join("".join(row) for row in rows).replace(" ", ""))


@pytest.mark.parametrize(("terminal", "width"), [(True, 72), (False, None)])
def test_only_a_terminal_has_a_width(monkeypatch, terminal, width):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("COLUMNS", "72")
    assert terminal_width() == width


def test_a_cell_that_goes_on_for_pages_has_no_such_rule():
    header, rule, row = format_table(("A", "B"), [("a", "b" * 5_000)]).splitlines()
    assert (header, rule, row) == ("A  B", f"-  {'-' * 80}", f"a  {'b' * 5_000}")


def test_control_characters_break_no_table():
    text = format_table(("A", "B"), [("tab\tand\nline", "\x1b[31mred"), ("x", "y")])
    assert text.splitlines() == [
        "A               B",
        "--------------  -----------",
        r"tab\tand\nline  \x1b[31mred",
        "x               y",
    ]
