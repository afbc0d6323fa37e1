"""The report's files: none is left of an earlier report, and figures have the digits they need."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure

from optimize import page
from optimize.comparison import Comparison
from optimize.findings import standings
from optimize.forge import Step
from optimize.page import PICTURE, _speed, _tails, write_report
from optimize.pictures import _part, draw_frontier
from optimize.tables import (
    circumstances,
    kept_in_float32,
    milliseconds,
    speed_table,
    speedup,
)
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

    timed = SimpleNamespace(timings={}, threads=1, busy=True)
    findings = SimpleNamespace(contest=timed, candidates=(), baselines=(), frontier=set())
    picture = draw_frontier(findings, tmp_path / PICTURE, title="m")
    before = picture.read_bytes()
    assert before.startswith(b"\x89PNG")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="full"):
        draw_frontier(findings, picture, title="m")
    assert picture.read_bytes() == before
    assert list(tmp_path.iterdir()) == [picture]


def test_labels_of_points_that_coincide_lie_below_each_other():
    figure = Figure()
    axes = figure.add_subplot()
    offsets = {"xytext": (0.0, 0.0), "textcoords": "offset points"}
    labels = [axes.annotate(name, (1.0, 1.0), **offsets) for name in ("fp32", "fp16", "int8")]
    _part(labels, figure)
    boxes = [label.get_window_extent() for label in labels]
    assert [one.y0 >= other.y1 for one, other in pairwise(boxes)] == [True, True]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.0213, "0.0213"), (0.5, "0.5"), (1.234, "1.23")]
)
def test_small_times_have_the_digits_that_tell_them_apart(value, text):
    assert milliseconds(value) == text


def test_interval_is_told_when_there_were_rounds_enough_to_have_one():
    assert speedup(TIMING) == "2.00 (1.50-2.50)"
    assert speedup(dataclasses.replace(TIMING, low=None, high=None)) == "2.00"
    assert speedup(dataclasses.replace(TIMING, speedup=0.0042, low=None, high=None)) == "0.0042"


def test_layers_that_stay_in_float32_are_named():
    layers = [{"node": "conv_1", "weight": "stem.weight"}, {"node": "add_7", "weight": None}]
    steps = [
        Step(name="fuse", version=1, parameters={}, found=True),
        Step(
            name="mixed", version=1, parameters={}, found=True,
            notes={"float32": {"of": 9, "layers": layers}},
        ),
    ]  # fmt: skip
    candidates = [
        SimpleNamespace(name="broken", graph=None),
        SimpleNamespace(name="int8-mixed", graph=SimpleNamespace(steps=steps)),
    ]
    assert kept_in_float32(SimpleNamespace(candidates=candidates)) == [
        "int8-mixed: 2 of 9 layers stay in float32: conv_1 (stem.weight), add_7"
    ]


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


def contest(*, others: float) -> Contest:
    return Contest(
        threads=1,
        rounds=6,
        baseline="b",
        timings={"b": {1: TIMING}},
        failed={},
        load={"others": others, "cores": 2},
    )


def compared(*, others: float) -> list[str]:
    found = contest(others=others)
    comparison = Comparison(model="m", variant="fp32", contest=found, missing={"c": "a | b"})
    return comparison.text().splitlines()[2:]


def test_comparison_has_the_cells_of_the_report_and_tells_how_it_was_made():
    assert compared(others=0.04) == [
        "| b | 0.0213 ms, 1/s, x 2.00 (1.50-2.50) |",
        "| c | not available: a \\| b |",
        "",
        f"m, variant fp32. {circumstances(contest(others=0.04))}",
    ]
    assert circumstances(contest(others=0.04)) == (
        "Medians of 6 interleaved rounds with 1 threads; other processes used 4% of 2 cores "
        "meanwhile."
    )


def test_figures_of_a_busy_machine_are_marked_in_every_row():
    told = "?: measured while other processes used 60% of the cores; neither these figures nor"
    busy = compared(others=0.6)
    assert busy[0] == "| b | 0.0213 ms, 1/s, x 2.00 (1.50-2.50)? |"
    assert busy[3].startswith(told)
    for others, mark in ((0.6, "?"), (0.1, "")):
        found = contest(others=others)
        findings = SimpleNamespace(contest=found, candidates=(), frontier={"b"})
        assert speed_table(findings)[1] == [
            ["b", f"0.0213{mark}", f"2.00 (1.50-2.50){mark}", f"1{mark}", f"yes{mark}"]
        ]
        assert _tails(found)[1] == [["b", "1", f"0.0213{mark}", "-", f"1{mark}"]]
        lines = "\n".join(_speed(SimpleNamespace(**vars(findings), occasion=None)))
        assert (told in lines) == bool(mark)
