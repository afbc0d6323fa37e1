from __future__ import annotations

import numpy as np

from optimize.probes import example_batch, probe_batches


def test_text_probes_cover_batch_sizes_and_lengths_from_one_to_the_longest(
    text_rows, text_preprocessor
):
    batches = list(
        probe_batches(text_rows, text_preprocessor, max_length=text_preprocessor.config.max_length)
    )
    shapes = {batch["input_ids"].shape for batch in batches}
    assert {size for size, _ in shapes} == {1, 3, 8}
    assert {length for _, length in shapes} >= {1, 2, 12, 24}
    assert all(batch["input_ids"].shape == batch["attention_mask"].shape for batch in batches)


def test_text_probes_hold_padding_but_no_empty_row(text_rows, text_preprocessor):
    batches = list(
        probe_batches(text_rows, text_preprocessor, max_length=text_preprocessor.config.max_length)
    )
    assert any((batch["attention_mask"] == 0).any() for batch in batches)
    assert all((batch["attention_mask"].sum(axis=1) > 0).all() for batch in batches)


def test_image_probes_hold_the_darkest_the_brightest_and_noise(image_rows, image_preprocessor):
    batches = [b["image"] for b in probe_batches(image_rows, image_preprocessor, max_length=None)]
    assert {len(batch) for batch in batches} == {1, 3, 8}
    assert any((batch[0] == 0).all() for batch in batches)
    assert any((batch[0] == 255).all() for batch in batches)
    assert all(batch.dtype == np.uint8 for batch in batches)


def test_probes_are_the_same_when_made_again(image_rows, image_preprocessor):
    def made():
        batches = probe_batches(image_rows, image_preprocessor, max_length=None)
        return [batch["image"].tobytes() for batch in batches]

    assert made() == made()


def test_probes_repeat_the_rows_when_there_are_few(image_rows, image_preprocessor):
    batches = list(probe_batches(image_rows[:1], image_preprocessor, max_length=None))
    assert {len(batch["image"]) for batch in batches} == {1, 3, 8}


def test_example_has_two_rows_of_which_the_second_is_padded(text_rows, text_preprocessor):
    example = example_batch(
        text_rows, text_preprocessor, max_length=text_preprocessor.config.max_length
    )
    assert example["input_ids"].shape == (2, 16)
    assert example["attention_mask"].sum(axis=1).tolist() == [16, 8]


def test_example_is_not_longer_than_the_model_takes(text_rows, text_preprocessor):
    example = example_batch(text_rows, text_preprocessor, max_length=5)
    assert example["input_ids"].shape == (2, 5)
