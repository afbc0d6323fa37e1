from __future__ import annotations

import pytest

from bundle.errors import ManifestError
from bundle.fields import Fields
from bundle.registry.routing import read_split
from bundle.version_number import version_number

NONE = ["", "0", "00", "-1", "+1", "1.0", " 1", "1_0", "²", "\u0663", "one", "9" * 19, "9" * 5_000]


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("01", 1), ("42", 42), ("9" * 18, 10**18 - 1)]
)
def test_digits_are_the_number_of_a_version(text, number):
    assert version_number(text) == number


@pytest.mark.parametrize("text", NONE)
def test_all_else_is_none(text):
    assert version_number(text) is None


@pytest.mark.parametrize("text", NONE)
def test_a_split_of_what_is_no_version_is_not_read(text):
    with pytest.raises(ManifestError, match="is not a version number"):
        read_split(Fields({text: 100}))


def test_a_split_that_names_a_version_twice_is_not_read():
    with pytest.raises(ManifestError, match="names version 1 once more"):
        read_split(Fields({"1": 50, "01": 50}))
