"""The report's files: none is left of an earlier report, and figures have the digits they need."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from optimize import page
from optimize.comparison import Comparison
from optimize.findings import standings
from optimize.page import PICTURE, write_report
from optimize.pictures import draw_frontier
from optimize.tables import milliseconds, speedup
from optimize.timing import Contest, Timing

TIMING = Timing(
    p50_ms=0.0213, p99_ms=None, samples_per_second=1.0, speedup=2.0, low=1.5, high=2.5, calls=9
)


def test_picture_of_an_earlier_report_goes_when_nothing_was_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "_page", lambda *_, **__: "")
    monkeypatch.setattr(page, "_data", lambda *_: {})
    (tmp_path / PICTURE).write_bytes(b"old")
    files = write_report(tmp_path, SimpleNamespace(name="m"), SimpleNamespace(contest=None))
    assert {path.name for path in files} == {"report.md", "report.json"}
    assert set(tmp_path.iterdir()) == set(files)


def test_picture_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(self, path, **_):
        path.write_bytes(b"half of it")
        raise OSError("the disk is full")

    contest = SimpleNamespace(timings={}, threads=1)
    findings = SimpleNamespace(contest=contest, candidates=(), baselines=(), frontier=set())
    picture = draw_frontier(findings, tmp_path / PICTURE, title="m")
    before = picture.read_bytes()
    assert before.startswith(b"\x89PNG")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="full"):
        draw_frontier(findings, picture, title="m")
    assert picture.read_bytes() == before
    assert list(tmp_path.iterdir()) == [picture]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.0213, "0.0213"), (0.5, "0.5"), (1.234, "1.23")]
)
def test_small_times_have_the_digits_that_tell_them_apart(value, text):
    assert milliseconds(value) == text


def test_interval_is_told_when_there_were_rounds_enough_to_have_one():
    assert speedup(TIMING) == "2.00 (1.50-2.50)"
    assert speedup(dataclasses.replace(TIMING, low=None, high=None)) == "2.00"


def test_there_is_no_ratio_between_devices():
    apart = dataclasses.replace(TIMING, speedup=None, low=None, high=None)
    assert speedup(apart) == "-"


@pytest.mark.parametrize(
    ("machine", "told"),
    [
        ({"cpu": "EPYC"}, "EPYC"),
        ({"cpu": "EPYC", "gpu": "H100"}, "H100, EPYC"),
        ({}, "an unknown processor"),
    ],
)
def test_page_names_what_was_measured_on(machine, told):
    assert page._machine(machine) == told


def test_baselines_are_not_compared_by_the_size_of_a_file():
    baseline = SimpleNamespace(name="torch fp32", agreement=1.0, bytes=1)
    (standing,) = standings([], [baseline], None)
    assert not standing.shipped


def test_comparison_has_the_cells_of_the_report():
    contest = Contest(
        threads=1,
        rounds=6,
        baseline="b",
        timings={"b": {1: TIMING}},
        failed={},
        load={},
    )
    comparison = Comparison(model="m", variant="fp32", contest=contest, missing={"c": "a | b"})
    assert comparison.table().splitlines()[2:] == [
        "| b | 0.0213 ms, 1/s, x 2.00 (1.50-2.50) |",
        "| c | not available: a \\| b |",
    ]
