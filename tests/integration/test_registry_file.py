"""The registry's sqlite file, when others replace or empty it while it is followed."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from bundle.errors import RegistryError
from bundle.registry import ModelRegistry
from tests.tiny_bundle import image_parts

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def registry(tracking_uri, tmp_path):
    """Versions 1 and 2 of digits, of which 1 is champion."""
    path = image_parts().write(tmp_path / "bundle").path
    found = ModelRegistry(tracking_uri)
    for _ in range(2):
        found.register(path)
    return found


@pytest.fixture
def database(registry, tmp_path) -> Path:
    return tmp_path / "mlflow.db"


def test_file_restored_from_a_backup_is_read_and_written(registry, database):
    backup = database.with_suffix(".backup")
    shutil.copy(database, backup)
    registry.promote("digits", 2)

    backup.replace(database)  # the old file is deleted, though connections may hold it open

    assert registry.routing("digits").champion == 1
    assert registry.promote("digits", 2).before.champion == 1
    assert ModelRegistry(registry.uri).routing("digits").champion == 2


def test_empty_file_is_no_registry_yet_and_stays_empty(registry, database):
    database.unlink()
    database.touch()

    with pytest.raises(RegistryError, match="no registry at"):
        registry.routing("digits")
    assert database.stat().st_size == 0
