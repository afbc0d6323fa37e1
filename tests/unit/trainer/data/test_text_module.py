from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from tests.unit.trainer.data.making import MemorySource, text_module
from trainer.data.augmentation import TextAugmentation
from trainer.data.sources.bbc_news import BbcNewsSource
from trainer.data.text_module import TextDataModule
from trainer.data.tokenizer import learn_tokenizer
from trainer.errors import DataError


def test_batches_are_padded_token_ids_masks_and_labels():
    module = text_module()
    module.setup()

    batch = next(iter(module.train_dataloader()))

    assert set(batch) == {"input_ids", "attention_mask", "label"}
    assert batch["input_ids"].dtype == batch["attention_mask"].dtype == torch.int64
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert batch["input_ids"].shape[0] == 8
    assert torch.all((batch["input_ids"] == 0) == (batch["attention_mask"] == 0))
    assert module.task == "text-classification"


def test_batches_are_cut_and_rounded_as_the_config_says():
    module = text_module(max_length=7, pad_to_multiple_of=4)
    module.setup()
    assert module.preprocessor.config.max_length == 7
    assert next(iter(module.train_dataloader()))["input_ids"].shape[1] == 7


def test_tokenizer_is_learned_from_the_training_split_and_kept(tmp_path):
    module = text_module(assets_dir=tmp_path / "assets", vocab_size=64, min_frequency=1)
    module.setup()

    content = (tmp_path / "assets" / "tokenizer.json").read_bytes()

    assert module.assets == {"tokenizer.json": content}
    assert module.preprocessor.config.tokenizer_sha256 == hashlib.sha256(content).hexdigest()
    texts = module.samples("train").raw
    assert content == learn_tokenizer(texts, vocab_size=64, min_frequency=1)


def test_given_tokenizer_is_taken_as_it_is(tmp_path):
    content = learn_tokenizer(["some other words entirely"], vocab_size=40, min_frequency=1)
    (tmp_path / "given.json").write_bytes(content)

    module = text_module(tokenizer_file=tmp_path / "given.json", assets_dir=tmp_path / "assets")
    module.setup()

    assert module.assets == {"tokenizer.json": content}
    assert (tmp_path / "assets" / "tokenizer.json").read_bytes() == content


def test_token_dropout_changes_training_batches_alone():
    plain, changed = text_module(), text_module(augmentation=TextAugmentation(token_dropout=0.5))
    for module in (plain, changed):
        module.setup()
    mask = changed.preprocessor._tokenizer.token_to_id("[MASK]")

    ours = next(iter(changed.train_dataloader()))["input_ids"]
    theirs = next(iter(plain.train_dataloader()))["input_ids"]

    assert torch.all((ours == theirs) | (ours == mask))
    assert (ours == mask).any()
    for one, two in zip(plain.val_dataloader(), changed.val_dataloader(), strict=True):
        assert torch.equal(one["input_ids"], two["input_ids"])


@pytest.mark.parametrize("text", ["", " \n\t", "\ud800", b"bytes", "\x00\x01"])
def test_unusable_text_is_named_or_skipped(text):
    texts = [f"text number {index}" for index in range(20)] + [text]
    labels = ["a", "b"] * 10 + ["a"]

    with pytest.raises(DataError, match="sample 20: "):
        TextDataModule(MemorySource(texts, labels)).setup()
    module = TextDataModule(MemorySource(texts, labels, on_error="skip"), batch_size=4)
    module.setup()

    assert [entry.split(":")[0] for entry in module.skipped] == ["sample 20"]
    assert sum(module.describe()["samples"].values()) == 20


def test_very_long_and_very_short_texts_share_a_batch():
    texts = ["word " * 20_000, "x", "日本語", "🎉", "naïve café", "a\nb\tc", "UPPER", "1.5%"]
    module = TextDataModule(
        MemorySource(texts, ["a", "b"] * 4),
        val_fraction=0,
        test_fraction=0,
        batch_size=8,
        max_length=32,
        min_frequency=1,
    )
    module.setup()
    (batch,) = module.train_dataloader()
    assert batch["input_ids"].shape == (8, 32)
    assert batch["attention_mask"].sum(dim=1).min() == 3


def test_bbc_news_loses_its_copies_before_it_is_split(tmp_path):
    module = TextDataModule(BbcNewsSource(), dedupe=True, assets_dir=tmp_path, limit=50)
    module.setup()
    description = module.describe()
    assert description["duplicates"] == 2225 - 2127
    texts = [text for split in ("val", "test") for text in module.samples(split).raw]
    assert len(texts) == len(set(texts))
    assert not set(module.samples("train").raw) & set(texts)
    assert np.bincount(module.samples("train").labels).sum() == 50
