from __future__ import annotations

import numpy as np

from trainer.data.stand_ins import StandIns


def test_stand_ins_are_the_next_of_the_class_and_then_the_others():
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 0])
    stand_ins = StandIns(np.array([0, 1, 2, 4, 5, 6]), labels)  # 3 and 7 are of another split
    assert list(stand_ins(4)) == [6, 0, 2, 5, 1]
    assert list(stand_ins(1)) == [5, 2, 4, 6, 0]


def test_a_lone_sample_has_no_stand_in():
    assert list(StandIns(np.array([3]), np.zeros(5, dtype=np.int64))(3)) == []
