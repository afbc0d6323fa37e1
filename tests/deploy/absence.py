"""What a test needs and this machine does not have."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

VARIABLE = "TRAINYARD_TESTS_SKIP"


def absent(what: str) -> NoReturn:
    """Skip the test; fail it where TRAINYARD_TESTS_SKIP=never, as where everything is installed."""
    if os.environ.get(VARIABLE) == "never":
        pytest.fail(what)
    pytest.skip(what)
