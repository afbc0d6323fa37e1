"""Bundles for the servers of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.served_bundles import double_onnx, image_bundle, logarithm_onnx, slow_onnx, text_bundle

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """image, text: folders; double.onnx, log.onnx, slow.onnx: bare files."""
    folder = tmp_path_factory.mktemp("bundles")
    image_bundle(folder / "image")
    text_bundle(folder / "text")
    for name, content in (
        ("double", double_onnx()),
        ("log", logarithm_onnx()),
        ("slow", slow_onnx()),
    ):
        (folder / f"{name}.onnx").write_bytes(content)
    return folder
