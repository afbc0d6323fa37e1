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


def test_progress_ends_when_the_stage_fails():
    progress, stream = made(terminal=True)
    failing = progress.stage("evaluate", total=3)
    failing.__enter__()(1)
    with pytest.raises(ValueError, match="broken"):
        failing.gen.throw(ValueError("broken"))
    with progress.stage("next"):  # a display that is still live would refuse a second one
        pass
    assert "next" in stream.getvalue()
