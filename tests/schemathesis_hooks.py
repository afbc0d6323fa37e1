"""What Schemathesis cannot read off the document, in its own words; loaded by its command line."""

from __future__ import annotations

from typing import Any

import schemathesis

PATIENT_MS = 60_000


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """A deadline that is met: a shorter one is answered 504, as the document says."""
    body = case.body
    if not isinstance(body, dict):
        return
    if _between(body.get("timeout_ms"), PATIENT_MS):
        body["timeout_ms"] = PATIENT_MS
    parameters = body.get("parameters")
    if isinstance(parameters, dict) and _between(parameters.get("timeout"), PATIENT_MS * 1000):
        parameters["timeout"] = PATIENT_MS * 1000


def _between(value: Any, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < most
