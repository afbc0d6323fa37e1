from __future__ import annotations

import hashlib
import multiprocessing
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from bundle.errors import InputError, IntegrityError, ManifestError, NotFoundError
from bundle.preprocessing.config import ImageConfig, PreprocessingConfig
from bundle.preprocessing.image import ImagePreprocessor
from bundle.preprocessing.select import create_preprocessor
from bundle.preprocessing.text import TextPreprocessor
from tests.same_tokens import check_same_tokens
from tests.tiny_bundle import text_config, tokenizer_json

TOKENIZER = tokenizer_json()
TEXT = TextPreprocessor(text_config(), TOKENIZER)


def ids(text, preprocessor=TEXT):
    return preprocessor(text)["input_ids"].tolist()


def test_text_becomes_token_ids_between_the_special_tokens():
    row = TEXT("The good films")

    assert row["input_ids"].tolist() == [2, 7, 4, 6, 8, 3]
    assert row["attention_mask"].tolist() == [1] * 6
    assert {array.dtype for array in row.values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("good 🎬 film", [2, 4, 1, 6, 3]),
        ("سيء good", [2, 1, 4, 3]),
        ("é", [2, 9, 3]),
        ("e\u0301", [2, 1, 3]),
        ("good\0film", [2, 1, 3]),
        ("good\u00a0film\n", [2, 4, 6, 3]),
        ("👨‍👩‍👧", [2, 1, 3]),
        ("\u202egood", [2, 4, 3]),
        ("坏film", [2, 1, 6, 3]),
    ],
)
def test_text_of_any_script_is_encoded(text, tokens):
    assert ids(text) == tokens


@pytest.mark.parametrize("text", ["", " ", "\n\t\r ", "\u00a0\u3000"])
def test_blank_text_is_refused(text):
    with pytest.raises(InputError, match="empty or blank") as found:
        TEXT(text)

    assert found.value.field == "text"


@pytest.mark.parametrize("text", ["\0", "\u200b\u200d", "\u202e", "\ufffd"])
def test_text_is_refused_when_no_token_is_left_of_it(text):
    with pytest.raises(InputError, match="no token is left"):
        TEXT(text)


@pytest.mark.parametrize("text", ["\ud800", "good \udfff film"])
def test_lone_surrogate_is_refused(text):
    with pytest.raises(InputError, match="lone surrogate"):
        TEXT(text)


@pytest.mark.parametrize("sample", [None, 7, b"good", ["good"], {"text": "good"}])
def test_sample_that_is_no_text_is_refused_by_its_type(sample):
    with pytest.raises(InputError, match=f"got {type(sample).__name__}"):
        TEXT(sample)


@pytest.mark.parametrize("words", [6, 7, 1000, 200_000])
def test_long_text_is_cut_and_keeps_its_last_special_token(words):
    row = ids(" ".join(["good"] * words))

    assert len(row) == 8
    assert row == [2, 4, 4, 4, 4, 4, 4, 3]


@given(st.text(max_size=300))
def test_any_text_gives_bounded_rows_or_a_clear_refusal(text):
    try:
        row = TEXT(text)
    except InputError:
        return
    tokens, mask = row["input_ids"], row["attention_mask"]
    assert 3 <= len(tokens) <= 8
    assert len(mask) == len(tokens)
    assert mask.min() == 1
    assert tokens[0] == 2
    assert tokens[-1] == 3


@given(
    st.lists(
        st.sampled_from(["good", "Bad", "FILM", "the", "[PAD]", "[sep]", "\u00e9", "\n", ",", " "])
    ).map("".join)
)
def test_any_text_has_the_tokens_that_the_library_finds(text):
    tokenizer = Tokenizer.from_buffer(TOKENIZER)
    tokenizer.enable_truncation(text_config().max_length)
    check_same_tokens(TEXT, tokenizer, text)


@given(st.lists(st.text("good bad film", min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_text_is_the_same_alone_and_in_company(texts):
    rows = [TEXT(text) for text in texts]
    batch = TEXT.collate(rows)

    assert batch["input_ids"].shape == (len(texts), max(len(row["input_ids"]) for row in rows))
    for index, row in enumerate(rows):
        length = batch["attention_mask"][index].sum()
        np.testing.assert_array_equal(batch["input_ids"][index, :length], row["input_ids"])
        assert not batch["attention_mask"][index, length:].any()
        assert (batch["input_ids"][index, length:] == TEXT.pad_id).all()


@pytest.mark.parametrize(("multiple", "length"), [(1, 3), (4, 4), (5, 5), (16, 8)])
def test_batch_is_padded_to_a_multiple_but_not_over_the_longest_text(multiple, length):
    config = text_config(pad_to_multiple_of=multiple)
    preprocessor = TextPreprocessor(config, TOKENIZER)

    batch = preprocessor.collate([preprocessor("good")])

    assert batch["input_ids"].shape == (1, length)
    assert batch["attention_mask"].tolist() == [[1] * 3 + [0] * (length - 3)]


@given(
    st.integers(0, 8).flatmap(
        lambda size: st.lists(st.integers(0, 9), min_size=size, max_size=size)
    ),
    st.sampled_from([1, 3, 4, 16]),
    st.sampled_from([np.int32, np.int64]),
)
def test_batch_of_one_row_is_what_it_is_beside_an_equal_one(tokens, multiple, dtype):
    preprocessor = TextPreprocessor(text_config(pad_to_multiple_of=multiple), TOKENIZER)
    row = {"input_ids": np.array(tokens, dtype), "attention_mask": np.ones(len(tokens), dtype)}

    alone, together = preprocessor.collate([row]), preprocessor.collate([row, row])

    assert list(alone) == list(together)
    for name, array in alone.items():
        assert array.dtype == np.int64
        np.testing.assert_array_equal(array, together[name][:1])


def test_batch_of_one_row_shares_no_memory_with_it():
    row = TEXT("good film")
    for array in row.values():
        array.flags.writeable = False

    batch = TEXT.collate([row])

    for name, array in batch.items():
        assert array.flags.writeable
        assert not np.shares_memory(array, row[name])


def test_settings_left_in_the_tokenizer_file_do_not_matter():
    left = tokenizer_json(truncation=3, padding=64)
    preprocessor = TextPreprocessor(text_config(left), left)

    for text in ("good", "the good bad film good bad film"):
        assert ids(text, preprocessor) == ids(text)
    assert preprocessor.pad_id == 0


def test_collate_refuses_rows_that_do_not_belong_together():
    row = {"input_ids": np.array([1, 2]), "attention_mask": np.array([1])}

    for rows in ([row], [TEXT("good"), row]):
        with pytest.raises(InputError, match="attention_mask has 1 tokens, input_ids has 2"):
            TEXT.collate(rows)


def test_collate_refuses_an_empty_batch():
    with pytest.raises(InputError, match="at least one sample"):
        TEXT.collate([])


def test_many_threads_get_what_one_gets():
    texts = [f"good {'bad ' * (index % 7)}film" for index in range(200)]
    expected = [ids(text) for text in texts]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ids, texts)) == expected


def in_child(queue):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        queue.put(ids("good film"))


def test_tokenizer_works_in_a_forked_process_after_it_was_used(capfd):
    TEXT.collate([TEXT("good"), TEXT("bad film")])
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests' threads
        child = context.Process(target=in_child, args=(queue,))
        child.start()
    child.join(30)

    assert child.exitcode == 0
    assert queue.get() == ids("good film")
    assert capfd.readouterr().err == ""


ENCODING = """
import os
from bundle.preprocessing.text import TextPreprocessor
from tests.tiny_bundle import text_config, tokenizer_json

text = TextPreprocessor(text_config(), tokenizer_json())
before = os.listdir("/proc/self/task")
text.collate([text("good"), text("bad film")])
assert os.listdir("/proc/self/task") == before, "it has started threads"
"""


def test_no_thread_is_started_for_texts():
    subprocess.run([sys.executable, "-c", ENCODING], check=True, timeout=60)  # none has yet


def test_another_tokenizer_than_the_config_names_is_refused():
    with pytest.raises(IntegrityError, match=r"tokenizer\.json has sha256"):
        TextPreprocessor(text_config(), tokenizer_json(truncation=3))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"model": {"type": "Evil"}}'])
def test_file_that_is_no_tokenizer_is_refused(content):
    config = text_config(tokenizer_sha256=hashlib.sha256(content).hexdigest())

    with pytest.raises(ManifestError, match=r"tokenizer\.json is not a tokenizer file"):
        TextPreprocessor(config, content)


@pytest.mark.parametrize("length", [1, 2])
def test_length_that_has_no_room_for_text_is_refused(length):
    with pytest.raises(ManifestError, match=f"max_length={length} leaves no room"):
        TextPreprocessor(text_config(max_length=length), TOKENIZER)


def test_preprocessor_finds_its_tokenizer_in_a_folder_or_by_name(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER)

    for assets in (tmp_path, {"tokenizer.json": TOKENIZER}):
        assert ids("good film", create_preprocessor(text_config(), assets=assets)) == [2, 4, 6, 3]


def test_missing_tokenizer_is_named(tmp_path):
    for assets in (tmp_path, {}):
        with pytest.raises(NotFoundError, match=r"tokenizer\.json"):
            create_preprocessor(text_config(), assets=assets)


def test_preprocessor_of_an_image_needs_no_files():
    preprocessor = create_preprocessor(ImageConfig(height=2, width=2), assets={})

    assert isinstance(preprocessor, ImagePreprocessor)


def test_preprocessor_of_an_unknown_kind_is_refused():
    class Audio(PreprocessingConfig):
        kind = "audio"

        def __post_init__(self): ...

        @classmethod
        def from_fields(cls, fields): ...

    with pytest.raises(ManifestError, match="audio"):
        create_preprocessor(Audio(), assets={})


def test_vocabulary_size_counts_every_token():
    assert TEXT.vocabulary_size == 10
