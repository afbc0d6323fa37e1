from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bundle.errors import RequestError
from optimize import lineage


def test_versions_name_everything_that_has_a_part_in_the_graph():
    assert {"python", "torch", "onnx", "onnxruntime", "onnxscript", "trainyard"} <= set(
        lineage.versions()
    )


def test_created_is_now_in_utc(monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    created = datetime.fromisoformat(lineage.created())
    assert abs((datetime.now(UTC) - created).total_seconds()) < 60


def test_created_is_the_given_moment_when_a_build_shall_be_repeatable(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert lineage.created() == "2023-11-14T22:13:20+00:00"


@pytest.mark.parametrize("value", ["yesterday", "", "9" * 30])
def test_created_is_refused_when_the_given_moment_is_none(value, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    with pytest.raises(RequestError, match="SOURCE_DATE_EPOCH"):
        lineage.created()
