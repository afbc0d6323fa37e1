"""A version's number, as people and programs write it."""

from __future__ import annotations

MAX_DIGITS = 18
"""What has more is no number that a registry's database could hold."""


def version_number(text: str) -> int | None:
    """From 1 on, in digits of ASCII; None for all else."""
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        return None
    return int(text) or None
