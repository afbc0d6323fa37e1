"""Where spans go, by setting and by OpenTelemetry's own variables."""

from __future__ import annotations

import subprocess
import sys

import pytest

from serving.errors import SettingsError
from serving.trace_endpoint import check_installed, find_endpoint

BASE, WHOLE = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@pytest.mark.parametrize(
    ("setting", "environment", "expected"),
    [
        ("", {}, ""),
        ("http://a:4318", {}, "http://a:4318/v1/traces"),
        ("http://a:4318/", {}, "http://a:4318/v1/traces"),
        ("http://a:4318/v1/traces", {}, "http://a:4318/v1/traces"),
        ("", {BASE: "http://b"}, "http://b/v1/traces"),
        ("", {BASE: "http://b", WHOLE: "http://c/x"}, "http://c/x"),
        ("http://a", {BASE: "http://b", WHOLE: "http://c/x"}, "http://a/v1/traces"),
    ],
)
def test_the_setting_beats_the_variables(setting, environment, expected):
    assert find_endpoint(setting, environment) == expected


@pytest.mark.parametrize(
    ("setting", "environment", "named"),
    [("collector:4318", {}, "otlp_endpoint=coll"), ("", {BASE: "grpc://b"}, f"{BASE}=grpc")],
)
def test_an_address_that_is_not_http_names_its_source(setting, environment, named):
    with pytest.raises(SettingsError, match=named):
        find_endpoint(setting, environment)


def test_a_missing_exporter_is_told_before_the_server_starts(monkeypatch):
    monkeypatch.setattr("serving.trace_endpoint.EXPORTER", "opentelemetry.exporter.not_here.http")
    check_installed("")
    with pytest.raises(SettingsError, match="not installed") as caught:
        check_installed("http://a/v1/traces")
    assert "trainyard[otel]" in str(caught.value.remedy)


def imported_by(module: str, part: str) -> str:
    code = f"import {module}, sys; print([name for name in sys.modules if {part!r} in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_nothing_of_opentelemetry_is_imported_before_it_is_needed():
    assert imported_by("serving.api", "opentelemetry") == "[]"


def test_prometheus_is_not_imported_before_the_command_has_said_where_its_files_are():
    assert imported_by("serving.command", "prometheus_client") == "[]"
