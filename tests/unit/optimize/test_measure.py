from __future__ import annotations

from types import SimpleNamespace

import pytest

from optimize import measure
from optimize.cache import ContentCache
from optimize.progress import StageProgress
from optimize.schema import OptimizeConfig
from optimize.timing import Contest


@pytest.fixture
def hold(image_case, tmp_path, monkeypatch):
    """Measure the same contestants again, of which these fail now."""
    subject = SimpleNamespace(
        rows=image_case.rows,
        preprocessor=image_case.preprocessor,
        restored=SimpleNamespace(path=tmp_path / "best.ckpt", sha256="a"),
    )

    def run(**failed: str) -> Contest | None:
        """None if it was kept from before."""
        contest = Contest(
            threads=1, rounds=3, baseline="b", timings={}, failed=failed, load={"others": 0.0}
        )
        monkeypatch.setattr(measure, "run_contest", lambda *_, **__: contest)
        found, occasion = measure.hold_contest(
            subject,
            [SimpleNamespace(name="fp32", graph=None, assessment=None)],
            OptimizeConfig(),
            provider="cpu",
            cache=ContentCache(tmp_path),
            progress=StageProgress(),
        )
        return None if occasion["found"] else found

    return run


def test_contest_is_kept_when_everyone_was_timed(hold):
    assert hold().failed == {}
    assert hold() is None


def test_contest_is_not_kept_when_someone_failed(hold):
    """A process that was killed for memory is no property of the variant."""
    assert hold(int8="the process of int8 ended with code -9").failed
    assert hold().failed == {}
