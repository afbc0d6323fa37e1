"""Small data on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.trainer.data.making import write_images

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def image_root(tmp_path: Path) -> Path:
    """Two classes of eight images each."""
    root = tmp_path / "bilder ü"
    write_images(root / "Katze", count=8)
    write_images(root / "犬", count=8, start=100)
    return root
