"""Plain texts go a shorter way, at the end of which are the same tokens."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from bundle.preprocessing.plain_encoder import MOST_ADDED, PlainEncoder
from tests.tiny_bundle import tokenizer_json

PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdeABCDE", *"[]<>", "##a", "##b", "unk", "UNK")
VOCABULARY = {word: index for index, word in enumerate(WORDS)}
BERT = normalizers.BertNormalizer()
WORDS_OF_BERT = pre_tokenizers.BertPreTokenizer()


def made(
    *added: AddedToken,
    model: models.Model | None = None,
    normalizer: normalizers.Normalizer | None = BERT,
    words: pre_tokenizers.PreTokenizer | None = WORDS_OF_BERT,
    ends: bool = True,
    **truncation: object,
) -> Tokenizer:
    """One of letters. `ends`: whether it puts special tokens around a text."""
    tokenizer = Tokenizer(model or models.WordPiece(VOCABULARY, unk_token="[UNK]"))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if words is not None:
        tokenizer.pre_tokenizer = words
    if ends:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_tokens(list(added))
    if truncation:
        tokenizer.enable_truncation(**truncation)
    return tokenizer


def byte_pairs() -> models.Model:
    letters = {letter: index for index, letter in enumerate((*WORDS[:4], *string.ascii_lowercase))}
    return models.BPE(letters | {"ab": 30, "abc": 31}, [("a", "b"), ("ab", "c")], unk_token="[UNK]")


SPECIAL = [AddedToken(token, special=True, normalized=False) for token in WORDS[:4]]
TOKENIZERS = {
    "tiny": Tokenizer.from_buffer(tokenizer_json()),
    "special": made(*SPECIAL),
    "cut": made(*SPECIAL, max_length=6),
    "cut on the left": made(*SPECIAL, max_length=5, direction="left", stride=2),
    "cased": made(*SPECIAL, normalizer=normalizers.BertNormalizer(lowercase=False)),
    "as it comes": made(
        normalizer=normalizers.BertNormalizer(
            clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=True
        )
    ),
    "without ends": made(*SPECIAL, ends=False),
    "whole": made(*SPECIAL, words=None),
    "byte pairs": made(*SPECIAL, model=byte_pairs()),
    "first word": made(
        model=byte_pairs(),
        words=pre_tokenizers.Metaspace(replacement="c", prepend_scheme="first"),
    ),
    "lower": made(AddedToken("<unk>", normalized=False)),
    "upper": made(AddedToken("<UNK>", normalized=False)),
    "normalized": made(AddedToken("AB", normalized=True)),
    "accented": made(AddedToken("\u00c9", normalized=True)),
    "greedy": made(AddedToken("de", lstrip=True, rstrip=True, single_word=True)),
}
PIECES = [*WORDS, "<unk>", "<UNK>", "<Unk>", "ab", "AB", "Ab", "\u00e9", " ", "\n", "DE", "de"]


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=st.text(PRINTABLE) | st.lists(st.sampled_from(PIECES)).map("".join) | st.text())
def test_plain_text_has_the_tokens_that_the_tokenizer_finds(name, text):
    tokenizer = TOKENIZERS[name]
    found = PlainEncoder.of(tokenizer).encode(text)
    if found is None:
        return
    expected = tokenizer.encode(text)
    for one, other in zip(
        [found, *found.overflowing], [expected, *expected.overflowing], strict=True
    ):
        assert one.ids == other.ids
        assert one.attention_mask == other.attention_mask
        assert one.special_tokens_mask == other.special_tokens_mask


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_tokenizer_here_has_plain_texts(name):
    assert PlainEncoder.of(TOKENIZERS[name]).encode("A cad, bad") is not None


@pytest.mark.parametrize("name", TOKENIZERS)
def test_normalizer_changes_at_most_the_case_of_plain_characters(name):
    normalizer = TOKENIZERS[name].normalizer
    for character in PRINTABLE:
        plain = character.lower() if normalizer.lowercase else character
        assert normalizer.normalize_str(f"x{character}x") == f"x{plain}x"


@given(st.text(PRINTABLE.translate(str.maketrans("", "", "[]"))))
def test_printable_ascii_is_plain(text):
    assert PlainEncoder.of(TOKENIZERS["special"]).encode(text) is not None


@pytest.mark.parametrize(
    "text", ["caf\u00e9", "a\nb", "a\tb", "a\0", "a\x7f", "\u4e2d", "a [SEP]", "a [sep]"]
)
def test_what_is_not_plain_is_left_to_the_tokenizer(text):
    assert PlainEncoder.of(TOKENIZERS["special"]).encode(text) is None


@pytest.mark.parametrize(
    "normalizer",
    [
        None,
        normalizers.Lowercase(),
        normalizers.Sequence([BERT, normalizers.Replace("a", "b")]),
    ],
)
def test_other_normalizers_have_no_shorter_way(normalizer):
    assert PlainEncoder.of(made(normalizer=normalizer)) is None


def test_many_added_tokens_are_not_looked_for():
    added = [AddedToken(f"<{number}>") for number in range(MOST_ADDED + 1)]
    assert PlainEncoder.of(made(*added[1:])) is not None
    assert PlainEncoder.of(made(*added)) is None
