"""A model's name, as a registry, a URL, a folder and a table can all carry it."""

from __future__ import annotations

from bundle.errors import ManifestError, NotFoundError
from bundle.quotation import quoted

LONGEST = 200
"""Bytes in UTF-8."""

_FORBIDDEN = r"""/\:@=%?#'"`"""


def check_model_name(name: str, *, field: str = "name") -> str:
    """The name, if a new model may have it. Raises ManifestError."""
    if (
        not _is_visible(name)
        or name in (".", "..")
        or len(name.encode()) > LONGEST
        or not set(name).isdisjoint(_FORBIDDEN)
    ):
        raise ManifestError(
            f"{field}={quoted(name)} cannot name a model",
            field=field,
            remedy=f"use at most {LONGEST} bytes, without any of {_FORBIDDEN}, control characters, "
            "or blanks at its ends",
        )
    return name


def check_asked_name(name: str) -> str:
    """The name, if one may ask for such a model: whoever writes to MLflow may give it others than
    we do. Raises NotFoundError for one that cannot be told from another one when it is seen.
    """
    if not _is_visible(name):
        raise NotFoundError(
            f"no model {quoted(name)} can be asked for: "
            "a name is not empty, and has neither control characters nor blanks at its ends",
            field="name",
            remedy="write it as models.py list shows it, or rename it in MLflow",
        )
    return name


def _is_visible(name: str) -> bool:
    return bool(name) and name.isprintable() and name == name.strip()
