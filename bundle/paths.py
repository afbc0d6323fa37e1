"""Paths inside a bundle: relative, of plain parts, and so the same on every system."""

from __future__ import annotations

import re

from bundle.errors import UnsafePathError

MANIFEST = "manifest.json"

_DRIVE = re.compile(r"[A-Za-z]:")


def check_relative_name(name: str) -> str:
    """The name, if it stays inside a folder wherever it is joined. Raises UnsafePathError."""
    parts = name.split("/")
    reason = None
    if not name or "" in parts:
        reason = "is absolute, or has an empty part"
    elif "." in parts or ".." in parts:
        reason = "has '.' or '..' in it"
    elif "\\" in name or _DRIVE.match(name):
        reason = "has a backslash or a drive letter"
    elif not name.isprintable():
        reason = "has a control character"
    elif len(name.encode()) > 1024 or any(len(part.encode()) > 255 for part in parts):
        reason = "is too long"
    elif name == MANIFEST:
        reason = "is the manifest's own"
    if reason is not None:
        raise UnsafePathError(f"the file name {name!r} {reason}", field="files")
    return name
