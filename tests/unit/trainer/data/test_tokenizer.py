from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from tokenizers import Tokenizer

from trainer.data.tokenizer import (
    SPECIAL_TOKENS,
    learn_tokenizer,
    read_tokenizer,
    write_tokenizer,
)
from trainer.errors import DataError

TEXTS = ["The café's lower lowest newer newest!", "new low Lower slow slower", "日本語 text 🎉"] * 3


def learn(texts=TEXTS, *, vocab_size=120, min_frequency=2) -> Tokenizer:
    content = learn_tokenizer(texts, vocab_size=vocab_size, min_frequency=min_frequency)
    return Tokenizer.from_buffer(content)


def test_learned_tokenizer_gives_special_tokens_the_first_ids_in_order():
    vocabulary = learn().get_vocab()
    assert [vocabulary[token] for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]


def test_learned_tokenizer_wraps_lower_cases_and_strips_accents():
    tokenizer = learn()
    encoding = tokenizer.encode("LOWER Café")
    assert encoding.tokens[0] == "[CLS]"
    assert encoding.tokens[-1] == "[SEP]"
    assert "lower" in encoding.tokens
    assert tokenizer.decode(encoding.ids) == "lower cafe"
    assert encoding.special_tokens_mask[0] == 1


def test_learned_tokenizer_marks_pairs_with_type_ids():
    encoding = learn().encode("new", "low")
    assert encoding.tokens == ["[CLS]", "new", "[SEP]", "low", "[SEP]"]
    assert encoding.type_ids == [0, 0, 0, 1, 1]


def test_learned_tokenizer_takes_a_special_token_in_a_text_as_one_token():
    assert learn().encode("new [MASK] low").tokens == ["[CLS]", "new", "[MASK]", "low", "[SEP]"]


def test_learned_tokenizer_says_unknown_for_characters_it_never_saw():
    assert learn().encode("Ж").tokens == ["[CLS]", "[UNK]", "[SEP]"]


@pytest.mark.parametrize("size", [6, 20, 40, 120])
def test_learned_vocabulary_is_no_larger_than_asked(size):
    assert learn(vocab_size=size).get_vocab_size() <= size


def test_learned_tokenizer_is_the_same_whatever_the_order_of_the_texts():
    first = learn_tokenizer(TEXTS, vocab_size=60, min_frequency=1)
    assert learn_tokenizer(reversed(TEXTS), vocab_size=60, min_frequency=1) == first


def test_learned_tokenizer_is_the_same_in_every_process():
    code = (
        "import sys\n"
        "from tests.unit.trainer.data.test_tokenizer import TEXTS\n"
        "from trainer.data.tokenizer import learn_tokenizer\n"
        "sys.stdout.buffer.write(learn_tokenizer(TEXTS, vocab_size=60, min_frequency=1))\n"
    )
    here = learn_tokenizer(TEXTS, vocab_size=60, min_frequency=1)
    there = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    assert there == here


def test_learned_pieces_are_those_of_byte_pair_merges():
    """The most frequent pair of "lo" and "w" words is merged first, ties in alphabetical order."""
    vocabulary = learn(["low low low lot"], vocab_size=11, min_frequency=2).get_vocab()
    expected = [*SPECIAL_TOKENS, "##o", "##t", "##w", "l", "lo", "low"]
    assert Counter(vocabulary.keys()) == Counter(expected)


def test_learned_tokenizer_of_no_text_knows_the_special_tokens_alone():
    assert learn([]).get_vocab_size() == len(SPECIAL_TOKENS)


def test_tokenizer_file_is_written_whole_and_read_back(tmp_path):
    content = learn_tokenizer(TEXTS, vocab_size=60, min_frequency=1)

    write_tokenizer(content, assets_dir=tmp_path / "a" / "ü")
    write_tokenizer(content, assets_dir=tmp_path / "a" / "ü")

    assert [path.name for path in (tmp_path / "a" / "ü").iterdir()] == ["tokenizer.json"]
    assert read_tokenizer(tmp_path / "a" / "ü" / "tokenizer.json") == content


def test_read_tokenizer_names_the_file_when_it_is_missing_or_something_else(tmp_path):
    with pytest.raises(DataError, match=r"nope\.json cannot be read: No such file"):
        read_tokenizer(tmp_path / "nope.json")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(DataError, match=r"x\.json is not a tokenizer file"):
        read_tokenizer(tmp_path / "x.json")
