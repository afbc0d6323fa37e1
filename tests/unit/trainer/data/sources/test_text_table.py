from __future__ import annotations

import json
import logging

import pytest

from trainer.data.sources.text_table import TextTableSource, class_name
from trainer.errors import DataError

ROWS = [("one, with a comma", "a"), ('"quoted"\nlines', "b"), ("naïve 日本 🎉", "a")]


def write_csv(path, rows=ROWS, *, separator=",", header=("text", "label")):
    import csv

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_jsonl(path, rows=ROWS):
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    return path


def write_parquet(path, rows=ROWS, **columns):
    import pyarrow as pa
    from pyarrow import parquet

    texts, labels = zip(*rows, strict=True)
    parquet.write_table(pa.table({"text": texts, "label": labels, **columns}), path)
    return path


def load(path, **options):
    return TextTableSource(str(path), **options).load()


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("tabelle ü.csv", write_csv),
        ("t.CSV", write_csv),
        ("t.tsv", lambda path: write_csv(path, separator="\t")),
        ("t.jsonl", write_jsonl),
        ("t.ndjson", write_jsonl),
        ("t.parquet", write_parquet),
    ],
)
def test_text_table_reads_every_format(tmp_path, name, write):
    corpus = load(write(tmp_path / name))

    assert list(corpus.raw) == [text for text, _ in ROWS]
    assert corpus.classes == ("a", "b")
    assert corpus.labels.tolist() == [0, 1, 0]
    assert corpus.given is None


def test_text_table_takes_the_splits_of_a_column(tmp_path):
    rows = [("x", "a", "train"), ("y", "b", "Valid"), ("z", "b", "test")]
    path = write_csv(tmp_path / "t.csv", rows, header=("body", "kind", "part"))

    corpus = load(path, text_column="body", label_column="kind", split_column="part")

    assert corpus.given.tolist() == [0, 1, 2]


def test_text_table_refuses_an_unknown_split(tmp_path):
    path = write_csv(tmp_path / "t.csv", [("x", "a", "later")], header=("text", "label", "part"))
    with pytest.raises(DataError, match="line 2: the split is 'later'"):
        load(path, split_column="part")


@pytest.mark.parametrize("write", [write_csv, write_jsonl, write_parquet])
def test_text_table_names_the_columns_there_are_when_one_is_missing(tmp_path, write):
    suffix = {write_csv: "csv", write_jsonl: "jsonl", write_parquet: "parquet"}[write]
    path = write(tmp_path / f"t.{suffix}")
    with pytest.raises(DataError, match=r"no column 'sentence' \(data.text_column\)") as error:
        load(path, text_column="sentence")
    assert error.value.field == "data.text_column"
    assert "text" in error.value.remedy
    assert "label" in error.value.remedy


def test_text_table_names_the_file_when_it_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"data\.root=.*nope\.csv: there is no such file"):
        load(tmp_path / "nope.csv")


def test_text_table_says_so_when_it_is_a_folder(tmp_path):
    with pytest.raises(DataError, match="this is a folder"):
        load(tmp_path)


def test_text_table_names_the_suffixes_it_reads(tmp_path):
    (tmp_path / "t.xlsx").write_bytes(b"")
    with pytest.raises(DataError, match=r"suffix '\.xlsx'") as error:
        load(tmp_path / "t.xlsx")
    assert ".parquet" in error.value.remedy


@pytest.mark.parametrize(
    ("text", "label", "reason"),
    [
        ("", "a", "the text is empty"),
        (" \t", "a", "the text is empty"),
        ("x", "", "the label is missing"),
        ("x", "  ", "names no class"),
    ],
)
def test_text_table_names_the_line_when_a_cell_is_empty(tmp_path, text, label, reason):
    path = write_csv(tmp_path / "t.csv", [("fine", "a"), (text, label)])
    with pytest.raises(DataError, match=f"line 3: .*{reason}") as error:
        load(path)
    assert "data.on_error=skip" in error.value.remedy


def test_text_table_skips_and_reports_bad_rows_when_asked_to(tmp_path, caplog):
    path = tmp_path / "t.csv"
    path.write_text("text,label\nfine,a\n,a\ntoo,many,fields\nalso fine,b\n")

    with caplog.at_level(logging.WARNING):
        corpus = load(path, on_error="skip")

    assert list(corpus.raw) == ["fine", "also fine"]
    assert corpus.skipped == (
        "line 3: the text is empty or blank",
        "line 4: has 3 fields, the header has 2",
    )
    assert "2 of 4 samples cannot be used and were skipped: line 3" in caplog.text


def test_text_table_skips_lines_that_are_no_json_objects(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(
        '{"text": "x", "label": 1}\n{"text": \n[1]\n{"label": 2}\n{"text": 3, "label": 1}'
    )

    corpus = load(path, on_error="skip")

    assert list(corpus.raw) == ["x"]
    assert [entry.split(":")[0] for entry in corpus.skipped] == [f"line {n}" for n in (2, 3, 4, 5)]


def test_text_table_names_the_line_of_broken_quotes(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('text,label\n"never closed,a\n')
    with pytest.raises(DataError, match="not readable as CSV at line 2"):
        load(path)


def test_text_table_says_so_when_the_file_is_not_utf8(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("text,label\nna\xefve,a\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        load(path)


def test_text_table_says_so_when_it_is_no_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"text,label\n")
    with pytest.raises(DataError, match="not readable as Parquet"):
        load(path)


def test_text_table_reads_a_byte_order_mark_and_very_long_fields(tmp_path):
    path = tmp_path / "t.csv"
    long = "word " * 40_000
    path.write_text(f"text,label\n{long},a\nshort,b\n", encoding="utf-8-sig")

    assert load(path).raw[0] == long


def test_text_table_takes_the_separator_with_which_the_header_has_the_columns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('label;text\na;"one; two, three"\nb;four\n', encoding="utf-8-sig")
    corpus = load(path)
    assert list(corpus.raw) == ["one; two, three", "four"]
    assert corpus.classes == ("a", "b")


def test_text_table_refuses_a_header_that_has_a_column_twice(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label,text\nx,a,y\n")
    with pytest.raises(DataError, match="2 columns are called 'text'") as error:
        load(path)
    assert error.value.field == "data.text_column"


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_text_table_of_an_empty_file_has_no_samples_or_names_the_column(tmp_path, name):
    path = tmp_path / name
    path.write_text("")
    if name == "t.csv":
        with pytest.raises(DataError, match="no column 'text'") as error:
            load(path)
        assert error.value.remedy == "the file has no header"
    else:
        assert len(load(path)) == 0


def test_text_table_takes_numbers_as_class_names_in_numeric_order(tmp_path):
    path = write_parquet(tmp_path / "t.parquet", [("x", 10), ("y", 2), ("z", 10)])

    assert load(path).classes == ("2", "10")


@pytest.mark.parametrize(
    ("value", "name"),
    [(1, "1"), (1.0, "1"), ("1", "1"), (True, "true"), (" a ", "a"), (0, "0"), (-1, "-1")],
)
def test_class_name_is_the_same_for_equal_labels(value, name):
    assert class_name(value) == name


@pytest.mark.parametrize("value", [None, "", float("nan"), 1.5, float("inf"), [], " "])
def test_class_name_refuses_what_names_no_class(value):
    with pytest.raises(ValueError, match="label"):
        class_name(value)


def test_line_that_is_nested_too_deeply_is_left_out_or_named(tmp_path):
    path = write_jsonl(tmp_path / "t.jsonl")
    path.write_text(path.read_text(encoding="utf-8") + "[" * 100_000 + "\n", encoding="utf-8")
    assert len(load(path, on_error="skip")) == len(ROWS)
    with pytest.raises(DataError, match="nested too deeply"):
        load(path)


def test_names_with_blanks_are_told_apart(tmp_path):
    path = write_csv(tmp_path / "t.csv", header=(" text", "label"))
    with pytest.raises(DataError, match="no column 'text'") as caught:
        load(path)
    assert caught.value.remedy == "use one of ' text', 'label'"


def test_number_without_end_is_told_as_such(tmp_path):
    path = tmp_path / "table.jsonl"
    path.write_text('{"text": "a", "label": %s}\n' % ("9" * 5000))
    with pytest.raises(DataError, match="more digits than can be read"):
        TextTableSource(str(path)).load()
