"""What makes a run the one that it is: the fields of its config that it may not change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_FREE = ("name", "resume", "callbacks.", "tracking.", "trainer.", "strategy.", "debug")
"""Fields that a run may change on its way without becoming another."""


def differing_fields(earlier: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Dotted names of what makes `config` that of another run; what `earlier` lacks does not."""
    before = _flat(earlier)
    return sorted(
        name
        for name, value in _flat(config).items()
        if not name.startswith(_FREE) and before.get(name, value) != value
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
