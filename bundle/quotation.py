"""Quotation: what came from outside, in a message: short, and in one line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = 64
"""Characters of a value that a message repeats."""
FIRST, LAST = 3, 9
"""Of many items those that a message lists: the newest are the last ones."""


def shorten(text: str, limit: int = LIMIT) -> str:
    """A text from outside, short enough to be sent back."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shorten_words(text: str, limit: int) -> str:
    """The text with each of its words short enough."""
    return re.sub(r"\S+", lambda word: shorten(word[0], limit), text)


def quoted(text: str, limit: int = LIMIT) -> str:
    """The text in quotes, with escapes for what cannot be seen."""
    return repr(shorten(text, limit))


def listed(items: Sequence[object], *, none: str = "none yet") -> str:
    """The items, or some of them where they are many."""
    if not items:
        return none
    texts = [shorten(str(item)) for item in items]
    if len(texts) > FIRST + LAST + 1:
        texts[FIRST:-LAST] = ["…"]
    return ", ".join(texts)


def escaped(text: str) -> str:
    """The text in one line, with escapes for what cannot be seen or would move the cursor."""
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )
