"""A version's number, as people and programs write it."""

from __future__ import annotations

import re

CHAMPION = "champion"
"""The alias of the version that answers where no split says otherwise."""
MAX_DIGITS = 18
"""What has more is no number that a registry's database could hold."""
HOW_TO_WRITE = "write it as models.py list NAME shows it: digits alone, from 1 on, no zero in front"

_NUMBER = re.compile(rf"[1-9][0-9]{{0,{MAX_DIGITS - 1}}}")
_ALIAS = re.compile(r"(?!v[0-9]+$|latest$)[\w-]+", re.IGNORECASE)


def version_number(text: str) -> int | None:
    """From 1 on, in digits of ASCII and in no other way ("02", "2.0"); None for all else."""
    return int(text) if _NUMBER.fullmatch(text) else None


def is_alias(text: str) -> bool:
    """Whether MLflow takes it as one, and nobody could take it for a number."""
    return _ALIAS.fullmatch(text) is not None and any(map(str.isalpha, text))
