"""Brevity: which batches are known to be brief."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

BRIEF_SECONDS = 1e-3
"""What takes no longer may keep the port's thread from reading."""
MOST_GROUPS = 1024
"""That are remembered: of inputs without fixed shapes there is no end of them."""


class Brevity:
    """Of one engine: brief is what is no larger than what was, of the same shapes."""

    def __init__(self) -> None:
        self._most: dict[Hashable, int] = {}
        """Tokens, with padding, of the largest batch of a group that was brief."""

    def known(self, group: Hashable, tokens: int) -> bool:
        """Whether a batch of so many tokens, with padding, is brief."""
        return tokens <= self._most.get(group, 0)

    def measured(self, group: Hashable, tokens: int, seconds: float) -> None:
        """A batch of so many ran for so long. If it was not brief after all, only those half as
        large are still known to be.
        """
        most = self._most.get(group, 0)
        if seconds > BRIEF_SECONDS:
            if tokens <= most:
                self._most[group] = tokens // 2
        elif tokens > most:
            if len(self._most) >= MOST_GROUPS:
                self._most.clear()
            self._most[group] = tokens
