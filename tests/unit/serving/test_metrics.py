"""What is counted is read from files, some of which are just being made."""

from __future__ import annotations

import pytest

from serving.metrics import DIRECTORY_VARIABLE, collect


@pytest.mark.parametrize("content", [b"", bytes(2**16)])
def test_a_file_that_has_just_been_made_has_nothing_to_tell(tmp_path, monkeypatch, content):
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    (tmp_path / "counter_1.db").write_bytes(content)
    assert collect() == []
