"""Where traces are sent, by our setting or OpenTelemetry's variables; empty for nowhere.

Read before the processes start, so it must not import prometheus_client: see `serving.metrics`.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from serving.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

STANDARD_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""What OpenTelemetry's own libraries read; the first is the whole address, the second its base."""
TRACES_PATH = "/v1/traces"
EXPORTER = "opentelemetry.exporter.otlp.proto.http"


def find_endpoint(setting: str, environment: Mapping[str, str]) -> str:
    """Where spans are sent, empty for nowhere. Raises SettingsError.

    The setting beats OpenTelemetry's variables; like the second of them it is a base address.
    """
    whole, base = (environment.get(name, "") for name in STANDARD_VARIABLES)
    source, endpoint = "otlp_endpoint", setting
    if not endpoint:
        source, endpoint = STANDARD_VARIABLES[0 if whole else 1], whole or base
    if not endpoint:
        return ""
    if not endpoint.startswith(("http://", "https://")):
        raise SettingsError(
            f"{source}={endpoint} must start with http:// or https://", field="otlp_endpoint"
        )
    if (whole and not setting) or endpoint.endswith(TRACES_PATH):
        return endpoint
    return endpoint.rstrip("/") + TRACES_PATH


def check_installed(endpoint: str) -> None:
    """Raise SettingsError if spans are to be sent and the parts that do it are missing."""
    if endpoint and not _is_installed(EXPORTER):
        raise SettingsError(
            f"traces are to be sent to {endpoint}, but OpenTelemetry's OTLP exporter is not "
            "installed",
            field="otlp_endpoint",
            remedy="install trainyard[otel], or leave the endpoint away",
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # one of the packages above it
        return False
