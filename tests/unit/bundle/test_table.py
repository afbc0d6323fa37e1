from __future__ import annotations

from bundle.table import format_table


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
