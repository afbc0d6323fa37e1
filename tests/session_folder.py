"""Where what is made once a test session lies, however many processes run it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def session_folder(factory: pytest.TempPathFactory) -> Path:
    """One folder for all processes of a test session."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
