"""What the process that looks for models tells of what goes wrong there."""

from __future__ import annotations

import pytest

from bundle.errors import BundleError
from serving import resolver
from serving.control import Failed
from serving.resolver import _look_for


def failing(error: Exception):
    def start(uri: str) -> None:
        if "bad" in uri:
            raise error

    return start


def test_an_unexpected_error_names_the_uri_and_how_to_see_more(monkeypatch, capsys):
    monkeypatch.setattr(resolver, "_start", failing(KeyError("weights")))
    answer = _look_for(["memory://good", "memory://bad"])
    assert isinstance(answer, Failed)
    assert answer.exit_code == 1
    assert answer.reason == (
        "memory://bad cannot be looked for: KeyError: 'weights' "
        "(set TRAINYARD_TRACEBACK=1 for the traceback)"
    )
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [KeyError("weights"), BundleError("memory://bad is damaged")])
def test_the_traceback_is_of_where_it_happened(monkeypatch, capsys, error):
    monkeypatch.setenv("TRAINYARD_TRACEBACK", "1")
    monkeypatch.setattr(resolver, "_start", failing(error))
    answer = _look_for(["memory://bad"])
    assert isinstance(answer, Failed)
    assert "memory://bad" in answer.reason
    assert "TRAINYARD_TRACEBACK" not in answer.reason
    told = capsys.readouterr().err
    assert told.startswith("Traceback")
    assert "in start" in told
