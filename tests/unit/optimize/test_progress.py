from __future__ import annotations

import io

import pytest
from rich.console import Console

from optimize.progress import StageProgress


def made(*, terminal: bool):
    stream = io.StringIO()
    return StageProgress(Console(file=stream, force_terminal=terminal, width=100)), stream


def test_progress_is_one_line_a_stage_when_there_is_no_terminal():
    progress, stream = made(terminal=False)
    with progress.stage("export [fp32]"):
        pass
    with progress.stage("evaluate", total=3) as advance:
        advance(3)
    progress.notice("[bold] is kept")
    assert stream.getvalue() == "export [fp32]\nevaluate\nnotice: [bold] is kept\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_counts_the_variants(terminal):
    progress, stream = made(terminal=terminal)
    with progress.variants(2) as begin:
        for name in ("int8", "fp16"):
            begin(name)
            with progress.stage(f"{name}: quantize", total=3) as advance:
                advance(3)
    with progress.stage("after"):
        pass
    text = stream.getvalue()
    expected = ["variant 1 of 2: int8", "int8: quantize", "variant 2 of 2: fp16", "after"]
    if terminal:
        expected.remove("int8: quantize")  # it made room for the next one
    assert [line for line in expected if line not in text] == []


def test_progress_ends_when_the_stage_fails():
    progress, stream = made(terminal=True)
    failing = progress.stage("evaluate", total=3)
    failing.__enter__()(1)
    with pytest.raises(ValueError, match="broken"):
        failing.gen.throw(ValueError("broken"))
    with progress.stage("next"):  # a display that is still live would refuse a second one
        pass
    assert "next" in stream.getvalue()
