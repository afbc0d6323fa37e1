from __future__ import annotations

import pytest

from trainer.profiler import NoProfiler


def test_no_profiler_lets_sections_nest_and_errors_through():
    profiler = NoProfiler()
    with profiler.profile("outer"), profiler.profile("inner"):
        pass
    with pytest.raises(ZeroDivisionError), profiler.profile("failing"):
        _ = 1 / 0
    with profiler.profile("after"):
        pass
