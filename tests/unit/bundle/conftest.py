"""Bundles written once a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.tiny_bundle import image_parts, text_parts

if TYPE_CHECKING:
    from pathlib import Path

    from bundle.archive import Bundle


@pytest.fixture
def image_bundle(tmp_path: Path) -> Bundle:
    return image_parts().write(tmp_path / "image")


@pytest.fixture
def text_bundle(tmp_path: Path) -> Bundle:
    return text_parts().write(tmp_path / "text")
