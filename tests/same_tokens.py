"""Whether a text has in the preprocessor the tokens that the library finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundle.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from bundle.preprocessing.text import TextPreprocessor


def check_same_tokens(preprocessor: TextPreprocessor, tokenizer: Tokenizer, text: str) -> None:
    """Or it is refused, and the library finds none."""
    expected = tokenizer.encode(text)
    try:
        row = preprocessor(text)
    except InputError:
        assert not text.strip() or all(expected.special_tokens_mask)
        return
    assert row["input_ids"].tolist() == expected.ids
    assert row["attention_mask"].tolist() == expected.attention_mask
