"""Budget: how many versions a worker may hold, and how large their files may be altogether."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from bundle.paths import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from bundle.uri import Resolved

MIB = 2**20


@dataclass(frozen=True)
class Budget:
    """0 is no limit."""

    models: int = 0
    bytes: int = 0
    variant: str = ""
    """Of which the file counts; empty for each bundle's default."""

    def exceeded(self, sources: Collection[Resolved]) -> str:
        """What these would exceed, in words; empty if they fit."""
        if self.models and len(sources) > self.models:
            return f"{len(sources)} versions are more than --max-models {self.models}"
        if self.bytes:
            total = sum(model_bytes(source, self.variant) for source in sources)
            if total > self.bytes:
                return (
                    f"{total / MIB:.1f} MiB of models are more than "
                    f"--memory-budget-mb {self.bytes / MIB:.6g}"
                )
        return ""

    def fill(self, needed: Iterable[Resolved], others: Iterable[Resolved]) -> list[Resolved]:
        """What is needed, and of the others as many as fit, the first ones first."""
        held = list(dict.fromkeys(needed))
        for source in others:
            if source not in held and not self.exceeded([*held, source]):
                held.append(source)
        return held


def model_bytes(source: Resolved, variant: str = "") -> int:
    """Size of the file that the runtime loads; 0 as long as that cannot be told."""
    try:
        return _read_bytes(source, variant)
    except (OSError, ValueError, KeyError, TypeError):
        return 0


@lru_cache(maxsize=1024)
def _read_bytes(source: Resolved, variant: str) -> int:
    """Raises what a file that is missing or is no manifest raises, which is not kept."""
    if source.bare:
        return source.path.stat().st_size
    document = json.loads((source.path / MANIFEST).read_bytes())
    wanted = variant or document["default_variant"]
    sizes = (v["bytes"] for v in document["variants"] if v["name"] == wanted)
    return int(next(sizes, 0) or 0)
