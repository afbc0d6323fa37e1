from __future__ import annotations

import logging
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.splitting import SplitPlan, Splits, split_corpus
from trainer.errors import DataError


def split(contents, labels, *, given=None, usable=None, **plan) -> Splits:
    """Split samples that are equal where their contents are."""
    labels = np.asarray(labels, dtype=np.int64)
    plan = {"seed": 0, "val_fraction": 0.2, "test_fraction": 0.2, "dedupe": False, **plan}
    return split_corpus(
        [str(content).encode() for content in contents],
        labels,
        usable=np.arange(len(labels)) if usable is None else np.asarray(usable, dtype=np.int64),
        classes=[f"class {label}" for label in range(labels.max() + 1)],
        given=None if given is None else np.asarray(given, dtype=np.int64),
        plan=SplitPlan(**plan),
        where="data=test",
    )


def parts(splits: Splits) -> list[list[int]]:
    return [part.tolist() for part in splits.by_name().values()]


corpora = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), min_size=60, max_size=120).map(
    lambda pairs: [(content * 3 + label, label) for content, label in pairs]
)


@given(corpora, st.integers(0, 5), st.booleans())
def test_split_never_lets_copies_straddle_nor_drops_samples_silently(pairs, seed, dedupe):
    contents = [content for content, _ in pairs] + [1000 + n for n in range(30)]
    labels = [label for _, label in pairs] + [n % 3 for n in range(30)]

    splits = split(contents, labels, seed=seed, dedupe=dedupe)

    seen = [{contents[index] for index in part} for part in parts(splits)]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    assert seen[0] | seen[1] | seen[2] == set(contents)
    kept = sum(len(part) for part in parts(splits))
    assert kept == (len(set(contents)) if dedupe else len(contents))
    assert splits.duplicates == len(contents) - kept


def test_split_keeps_the_classes_in_proportion():
    labels = [0] * 100 + [1] * 50

    train, val, test = parts(split(range(150), labels, val_fraction=0.1, test_fraction=0.2))

    assert np.bincount(np.take(labels, train)).tolist() == [70, 35]
    assert np.bincount(np.take(labels, val)).tolist() == [10, 5]
    assert np.bincount(np.take(labels, test)).tolist() == [20, 10]


def test_split_depends_on_its_seed():
    labels = [0, 1] * 50
    assert parts(split(range(100), labels)) == parts(split(range(100), labels))
    assert parts(split(range(100), labels)) != parts(split(range(100), labels, seed=1))


def test_split_is_the_same_when_the_samples_come_in_another_order():
    contents, labels = list(range(100)), [0, 1] * 50
    order = np.random.default_rng(0).permutation(100)

    before = split(contents, labels)
    after = split(order, np.take(labels, order))

    assert {*before.val.tolist()} == {int(order[index]) for index in after.val}


@pytest.mark.parametrize(("val", "test"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.45, 0.54)])
def test_split_leaves_something_to_train_on_whatever_the_fractions(val, test):
    train, validation, held_out = parts(
        split(range(6), [0, 0, 0, 1, 1, 1], val_fraction=val, test_fraction=test)
    )
    assert len(train) >= 2
    assert bool(validation) == (val > 0)
    assert bool(held_out) == (test > 0)


def test_split_names_the_class_when_it_has_too_few_samples():
    with pytest.raises(DataError, match="class 'class 1' has 2 different samples") as error:
        split(range(12), [0] * 10 + [1] * 2)
    assert "train + val + test" in str(error.value)
    assert "data.val_fraction=0" in error.value.remedy


def test_split_counts_copies_once_when_it_asks_whether_a_class_has_enough():
    with pytest.raises(DataError, match="has 1 different samples"):
        split([*range(10), 99, 99, 99], [0] * 10 + [1] * 3)


def test_split_leaves_out_samples_that_are_not_usable():
    splits = split(range(12), [0, 1] * 6, usable=[0, 1, 2, 3, 4, 5, 6, 7])
    assert sorted(chain(*parts(splits))) == list(range(8))
    assert splits.duplicates == 0


def test_split_keeps_the_splits_that_the_data_give():
    given_splits = [0, 0, 0, 0, 1, 1, 2, 2]
    splits = split(range(8), [0, 1] * 4, given=given_splits)
    assert parts(splits) == [[0, 1, 2, 3], [4, 5], [6, 7]]


def test_split_draws_the_split_that_the_data_do_not_give_from_training():
    splits = split(range(22), [0, 1] * 11, given=[0] * 20 + [2] * 2, val_fraction=0.1)
    assert splits.test.tolist() == [20, 21]
    assert len(splits.val) == 2
    assert len(splits.train) == 18


def test_split_takes_copies_of_held_out_samples_out_of_training_when_splits_are_given():
    contents = [0, 1, 2, 3, 0, 5, 1, 7]
    splits = split(contents, [0, 1, 0, 1, 0, 1, 1, 1], given=[0, 0, 0, 0, 1, 1, 2, 2])
    assert parts(splits) == [[2, 3], [4, 5], [6, 7]]
    assert splits.duplicates == 2


def test_split_warns_when_one_content_has_several_classes(caplog):
    with caplog.at_level(logging.WARNING):
        split([0, 0, *range(1, 11)], [0, 1] * 6)
    assert "1 samples appear under several classes (one under class 0, class 1)" in caplog.text


@given(st.integers(1, 80))
def test_split_limit_keeps_the_classes_in_proportion(limit):
    labels = np.array([0] * 60 + [1] * 30 + [2] * 10)
    whole = split(range(100), labels, val_fraction=0, test_fraction=0)
    limited = split(range(100), labels, val_fraction=0, test_fraction=0, limit=limit)

    assert len(limited.train) == limit
    assert set(limited.train.tolist()) <= set(whole.train.tolist())
    counts = np.bincount(labels[limited.train], minlength=3)
    assert np.all(np.abs(counts - limit * np.array([0.6, 0.3, 0.1])) < 1.5)


def test_split_limit_leaves_the_held_out_samples_alone():
    labels = [0, 1] * 50
    assert parts(split(range(100), labels, limit=4))[1:] == parts(split(range(100), labels))[1:]
