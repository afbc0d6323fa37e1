from __future__ import annotations

import pytest

from bundle.quotation import LIMIT, escaped, listed, quoted, shorten, shorten_words


def test_a_long_text_is_cut_and_says_so():
    assert shorten("a" * LIMIT) == "a" * LIMIT
    assert shorten("a" * 5_000) == "a" * (LIMIT - 1) + "…"
    assert shorten("abcdef", 4) == "abc…"


def test_every_word_is_cut_and_the_blanks_stay():
    assert shorten_words("ab abcdef\n abcd", 4) == "ab abc…\n abcd"


def test_what_is_quoted_is_short_and_in_one_line():
    assert quoted("a\tb") == r"'a\tb'"
    assert len(quoted("9" * 5_000)) == LIMIT + 2


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([], "none yet"),
        ([1, 2], "1, 2"),
        (range(1, 14), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13"),
        (range(1, 101), "1, 2, 3, …, 92, 93, 94, 95, 96, 97, 98, 99, 100"),
    ],
)
def test_of_many_items_the_first_and_the_last_are_listed(items, text):
    assert listed(list(items)) == text


def test_what_cannot_be_seen_is_an_escape():
    assert escaped("a b模") == "a b模"
    assert escaped("a\tb\n\x1b[31m\u202e\ud800\u200b") == (r"a\tb\n\x1b[31m\u202e\ud800\u200b")
