from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from optimize.errors import OptimizeError
from optimize.held_out import HeldOut, load_held_out
from optimize.samples import draw_samples
from optimize.schema import SamplesConfig
from tests.tiny_checkpoint import IMAGES, shared_checkpoint, train_tiny
from trainer.data.content import digest
from trainer.restore import restore


@pytest.fixture(scope="module", params=["images", "texts"])
def case(request, tmp_path_factory):
    restored = restore(shared_checkpoint(tmp_path_factory, request.param))
    data = restored.data()
    return restored, data, load_held_out(restored, data, max_samples=None)


def drawn(case, *, held_out: HeldOut | None = None, calibration=40, tuning=8):
    restored, data, own = case
    return draw_samples(
        data,
        held_out or own,
        restored.preprocessor,
        SamplesConfig(calibration=calibration, tuning=tuning),
        batch_size=16,
    )


def contents(batches) -> set[bytes]:
    """Of each row's tensors, without their padding."""
    found = set()
    for batch in batches:
        rows = zip(*batch.values(), strict=True)
        found |= {b"".join(np.trim_zeros(row.ravel()).tobytes() for row in each) for each in rows}
    return found


def test_samples_are_of_the_splits_that_are_not_judged_on(case):
    calibration, tuning = drawn(case)
    assert (calibration.split, tuning.split, case[2].split) == ("train", "val", "test")
    assert (calibration.samples, tuning.samples) == (40, 8)
    assert calibration.fingerprint != tuning.fingerprint


def test_batches_are_real_samples_of_one_shape_and_come_anew(case):
    calibration, _ = drawn(case)
    batches = list(calibration.batches())
    assert [len(next(iter(batch.values()))) for batch in batches] == [16, 16, 8]
    assert len({tuple(a.shape[1:] for a in batch.values()) for batch in batches}) == 1
    assert contents(calibration.batches()) == contents(batches)
    preprocessor, train = case[0].preprocessor, case[1].samples("train").raw
    every = [preprocessor.collate([preprocessor(train[i])]) for i in range(len(train))]
    assert contents(batches) <= contents(every)


def test_draw_is_the_same_every_time(case):
    first, second = drawn(case), drawn(case)
    assert [each.fingerprint for each in first] == [each.fingerprint for each in second]


def test_content_is_drawn_once_also_where_splits_share_it(case):
    """Copies of what is judged on, planted in the split that is learned from."""
    _, data, held_out = case
    train = data.samples("train").raw
    leaked = [train[index] for index in range(len(train) - 10)]
    judged = replace(held_out, raw=leaked, labels=np.zeros(len(leaked), dtype=np.int64))
    calibration, _ = drawn(case, held_out=judged, calibration=1000)
    distinct = {digest(train[index]) for index in range(len(train))}
    assert calibration.samples == len(distinct - {digest(sample) for sample in leaked})


def test_draw_is_refused_when_nothing_is_left(case):
    _, data, held_out = case
    train = data.samples("train").raw
    judged = replace(held_out, raw=train, labels=np.zeros(len(train), dtype=np.int64))
    with pytest.raises(OptimizeError, match="no sample that is not needed elsewhere"):
        drawn(case, held_out=judged)


def test_tuning_is_of_the_train_split_when_the_val_split_is_judged_on(tmp_path):
    restored = restore(train_tiny(tmp_path / "run", *IMAGES, "data.test_fraction=0"))
    data = restored.data()
    held_out = load_held_out(restored, data, max_samples=None)
    calibration, tuning = drawn((restored, data, held_out))
    assert (calibration.split, tuning.split, held_out.split) == ("train", "train", "val")
    assert not contents(calibration.batches()) & contents(tuning.batches())
