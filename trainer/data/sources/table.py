"""Rows of CSV, TSV, JSON lines and Parquet files, one reader for each."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

Row = tuple[str, Mapping[str, Any] | str]
"""Where it stands, and its values by column or the reason why it cannot be read."""

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
SUFFIXES = (*SEPARATORS, *JSON_LINES, *PARQUET)


def read_rows(path: Path, *, columns: Mapping[str, str], where: str) -> Iterator[Row]:
    """The rows of a table that has `columns` (name of the config field → name of the column).

    Raises DataError, beginning with `where`, if the file cannot be read as its suffix says.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in SEPARATORS:
            yield from _read_csv(path, separator=SEPARATORS[suffix], columns=columns, where=where)
        elif suffix in JSON_LINES:
            yield from _read_json_lines(path, columns=columns, where=where)
        else:
            yield from _read_parquet(path, columns=columns, where=where)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: the file is not UTF-8: {error.reason} at byte {error.start} of a block",
            field="data.root",
            remedy="convert it to UTF-8",
        ) from error
    except OSError as error:
        raise DataError(
            f"{where}: the file cannot be read: {error.strerror or error}", field="data.root"
        ) from error


def require_columns(there: Sequence[str], *, columns: Mapping[str, str], where: str) -> None:
    """Raises DataError, naming the field, for the first of `columns` that is not `there`."""
    for field, column in columns.items():
        if column not in there:
            known = ", ".join(map(repr, there))
            raise DataError(
                f"{where}: there is no column {column!r} (data.{field})",
                field=f"data.{field}",
                remedy=f"use one of {known}" if there else "the file has no header",
            )


def _read_csv(
    path: Path, *, separator: str, columns: Mapping[str, str], where: str
) -> Iterator[Row]:
    before = csv.field_size_limit(sys.maxsize)  # texts may be long; the limit is process-wide
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            separator = _separator(file.readline(), separator, columns=columns)
            file.seek(0)
            reader = csv.reader(file, delimiter=separator, strict=True)
            header = next(reader, [])
            require_columns(header, columns=columns, where=where)
            _require_once(header, columns=columns, where=where)
            for values in reader:
                name = f"line {reader.line_num}"
                if not values:
                    continue  # a blank line
                if len(values) != len(header):
                    yield name, f"has {len(values)} fields, the header has {len(header)}"
                else:
                    yield name, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise DataError(
            f"{where}: not readable as CSV at line {reader.line_num}: {error}",
            field="data.root",
            remedy="check the quotes and the separator (',' or ';' in .csv, a tab in .tsv)",
        ) from error
    finally:
        csv.field_size_limit(before)


def _separator(line: str, usual: str, *, columns: Mapping[str, str]) -> str:
    """The one with which the header has all columns: spreadsheets in many countries write ";"."""
    for separator in (usual, ";", "\t"):
        try:
            header = next(csv.reader([line], delimiter=separator), [])
        except csv.Error:
            continue
        if set(columns.values()) <= set(header):
            return separator
    return usual


def _require_once(header: Sequence[str], *, columns: Mapping[str, str], where: str) -> None:
    for field, column in columns.items():
        if header.count(column) > 1:
            raise DataError(
                f"{where}: {header.count(column)} columns are called {column!r} (data.{field})",
                field=f"data.{field}",
                remedy="rename all but one of them",
            )


def _read_json_lines(path: Path, *, columns: Mapping[str, str], where: str) -> Iterator[Row]:
    rows: list[Row] = []
    seen: dict[str, None] = {}
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                values = _json_object(line)
                rows.append((f"line {number}", values))
                seen.update(dict.fromkeys(values if isinstance(values, dict) else ()))
    if seen:
        require_columns(list(seen), columns=columns, where=where)
    yield from rows


def _json_object(line: str) -> dict[str, Any] | str:
    """The object that a line holds, or the reason why it holds none."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return f"is not JSON: {error}"
    except ValueError:
        return "has a number of more digits than can be read"
    except RecursionError:
        return "is JSON that is nested too deeply"
    return value if isinstance(value, dict) else f"is a JSON {type(value).__name__}, not an object"


def _read_parquet(path: Path, *, columns: Mapping[str, str], where: str) -> Iterator[Row]:
    import pyarrow as pa  # heavy, and other formats do without
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            require_columns(file.schema_arrow.names, columns=columns, where=where)
            number = 0
            for batch in file.iter_batches(columns=list(columns.values())):
                for values in batch.to_pylist():
                    number += 1
                    yield f"row {number}", values
    except pa.ArrowException as error:
        raise DataError(
            f"{where}: not readable as Parquet: {error}",
            field="data.root",
            remedy="write the file again, or give a CSV, TSV or JSONL file",
        ) from error
