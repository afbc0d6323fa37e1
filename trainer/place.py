"""Place: which of the run's processes this one is."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Place:
    """One process among `world_size`; rank 0 keeps the records."""

    rank: int = 0
    world_size: int = 1

    @property
    def keeps_records(self) -> bool:
        return self.rank == 0


def place_from_environment() -> Place:
    """What the launcher said; one process alone where nobody launched it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Place()
    return Place(rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))
