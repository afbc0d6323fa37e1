"""What may become of a bundle's files before a server fetches them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def cut_short(folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:100])


def altered(folder: Path) -> None:
    path = folder / "model.onnx"
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)


def not_there(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def with_a_stray_file(folder: Path) -> None:
    (folder / "sitecustomize.py").write_text("raise SystemExit")


def linked(folder: Path) -> None:
    """To a file of the machine that fetches it, if links were kept on the way."""
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("/etc/hostname")


def other_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace("fp32", "fp33"))


def broken_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:-20])


def leading_out(folder: Path) -> None:
    """The manifest names a file above the folder."""
    _list(folder, "../../evil")


def leading_to_the_root(folder: Path) -> None:
    _list(folder, "/tmp/evil")


def _list(folder: Path, name: str) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    document["files"][name] = document["files"]["model.onnx"]
    path.write_text(json.dumps(document))
