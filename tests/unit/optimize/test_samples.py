from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bundle.preprocessing.select import create_preprocessor
from optimize.errors import OptimizeError
from optimize.forge import describe_material
from optimize.held_out import HeldOut, load_held_out
from optimize.passes.base import Material
from optimize.passes.samples import check_provenance
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


def test_set_is_empty_and_refuses_to_be_read_when_nothing_is_left(case):
    """Who reads none is not concerned."""
    _, data, held_out = case
    train = data.samples("train").raw
    judged = replace(held_out, raw=train, labels=np.zeros(len(train), dtype=np.int64))
    calibration, tuning = drawn(case, held_out=judged)
    assert (calibration.samples, tuning.samples) == (0, 8)
    for read in (lambda: list(calibration.batches()), lambda: check_provenance(calibration)):
        with pytest.raises(OptimizeError, match="train split has no sample that is not needed"):
            read()


def test_short_train_split_is_shared_when_there_is_no_val_split(case):
    restored, data, held_out = case
    train = data.samples("train")
    few = replace(train, raw=train.raw[:30], labels=train.labels[:30])
    none = replace(train, raw=train.raw[:0], labels=train.labels[:0])
    short = SimpleNamespace(samples={"train": few, "val": none}.__getitem__)
    calibration, tuning = drawn((restored, short, held_out), calibration=1000, tuning=500)
    assert (calibration.split, tuning.split) == ("train", "train")
    distinct = calibration.samples + tuning.samples
    assert calibration.samples == -(-distinct * 2 // 3)
    assert 0 < distinct <= 30
    assert not contents(calibration.batches()) & contents(tuning.batches())


def test_sets_are_told_apart_by_their_preprocessing(case):
    """Ranges are learned from tensors: of the same raw samples they can be others."""
    restored, data, held_out = case
    config = restored.preprocessor.config
    change = {"max_length": 8} if hasattr(config, "max_length") else {"height": 9}
    other = create_preprocessor(replace(config, **change), assets=restored.assets)
    settings = SamplesConfig(calibration=4, tuning=4)

    def described(preprocessor, *, batch_size=2):
        calibration, tuning = draw_samples(
            data, held_out, preprocessor, settings, batch_size=batch_size
        )
        return describe_material(Material(calibration=calibration, tuning=tuning))

    own = described(restored.preprocessor)
    assert own == described(restored.preprocessor)
    for changed in (described(other), described(restored.preprocessor, batch_size=3)):
        assert changed != own
        assert changed["calibration"]["fingerprint"] == own["calibration"]["fingerprint"]


def test_tuning_is_of_the_train_split_when_the_val_split_is_judged_on(tmp_path):
    restored = restore(train_tiny(tmp_path / "run", *IMAGES, "data.test_fraction=0"))
    data = restored.data()
    held_out = load_held_out(restored, data, max_samples=None)
    calibration, tuning = drawn((restored, data, held_out))
    assert (calibration.split, tuning.split, held_out.split) == ("train", "train", "val")
    assert not contents(calibration.batches()) & contents(tuning.batches())
