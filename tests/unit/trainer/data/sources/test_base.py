from __future__ import annotations

import pytest

from trainer.data.sources.base import number_classes


@pytest.mark.parametrize(
    ("values", "classes", "labels"),
    [
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        (["10", "2", "10"], ("2", "10"), [1, 0, 1]),
        (["10", "2", "x"], ("10", "2", "x"), [0, 1, 2]),
        (["01", "1"], ("01", "1"), [0, 1]),
        (["ä", "z"], ("z", "ä"), [1, 0]),
        (["²", "1"], ("1", "²"), [1, 0]),
        (["10", "-1", "2.5"], ("-1", "2.5", "10"), [2, 0, 1]),
        (["1", "1.0"], ("1", "1.0"), [0, 1]),
        (["nan", "1"], ("1", "nan"), [1, 0]),
        (["9" * 5000, "1"], ("1", "9" * 5000), [1, 0]),
        ([], (), []),
    ],
)
def test_number_classes_sorts_names_as_numbers_only_when_all_are(values, classes, labels):
    numbers, names = number_classes(values)

    assert names == classes
    assert numbers.tolist() == labels
