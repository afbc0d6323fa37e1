"""PlainEncoder: encodes texts in printable ASCII without BERT's normalizer.

Of such a text that changes the case alone, if anything; to find that out, character by character,
takes it a third of a tokenizer's time. Python knows of a text whether it is ASCII, and lowers it at
once; the rest is done by a tokenizer that has the same vocabulary and no normalizer. A text of
several lines goes the tokenizer's own way: a line's end is not printable.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokenizers import Encoding

MOST_ADDED = 64
"""Added tokens, above which it would take long to look for all of them."""


class PlainEncoder:
    """Finds the tokens that the tokenizer does, where a text is plain."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> PlainEncoder | None:
        """For a tokenizer that does not pad, as it truncates now. None where it normalizes in
        another way, or has too many added tokens.
        """
        normalizer = tokenizer.normalizer
        if not isinstance(normalizer, BertNormalizer):
            return None
        added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        if len(added) > MOST_ADDED:
            return None
        # Those that are looked for in the normalized text are normalized themselves.
        added += [normalizer.normalize_str(content) for content in added]
        return cls(_without_normalizer(tokenizer), added=added, lowers=normalizer.lowercase)

    def __init__(self, tokenizer: Tokenizer, *, added: Iterable[str], lowers: bool) -> None:
        """`tokenizer` is for texts that are normalized, and hold none of the `added` tokens."""
        self._tokenizer = tokenizer
        self._lowers = lowers
        contents = "|".join(sorted({re.escape(content.lower()) for content in added}))
        self._added = re.compile(contents or "(?!)")

    def encode(self, text: str) -> Encoding | None:
        """None for a text that is not plain, or may hold an added token."""
        if not text.isascii() or not text.isprintable():
            return None
        lower = text.lower()
        if self._added.search(lower) is not None:
            return None
        return self._tokenizer.encode(lower if self._lowers else text)


def _without_normalizer(tokenizer: Tokenizer) -> Tokenizer:
    """Which has no added tokens either; the vocabulary is shared."""
    other = Tokenizer(tokenizer.model)
    if tokenizer.pre_tokenizer is not None:
        other.pre_tokenizer = tokenizer.pre_tokenizer
    if tokenizer.post_processor is not None:
        other.post_processor = tokenizer.post_processor
    if tokenizer.truncation is not None:
        other.enable_truncation(**tokenizer.truncation)
    return other
