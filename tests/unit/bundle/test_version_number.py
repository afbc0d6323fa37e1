from __future__ import annotations

import pytest

from bundle.errors import ManifestError
from bundle.fields import Fields
from bundle.registry.routing import read_split
from bundle.version_number import is_alias, version_number

NONE = ["", "0", "00", "01", "02", "2.0", "1 ", "1\n", "v2", "-1", "+1", "1.0", " 1", "1_0"]
NONE += ["²", "\u0663", "one", "9" * 19, "9" * 5_000]


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("10", 10), ("42", 42), ("9" * 18, 10**18 - 1)]
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


@pytest.mark.parametrize(
    ("text", "alias"),
    [
        ("champion", True),
        ("candidate", True),
        ("blue-2", True),
        ("2nd", True),
        ("02", False),
        ("-1", False),
        ("²", False),
        ("v2", False),
        ("V2", False),
        ("latest", False),
        ("", False),
        ("2.0", False),
        (" champion", False),
        ("champion\n", False),
    ],
)
def test_an_alias_is_nothing_that_could_be_taken_for_a_number(text, alias):
    assert is_alias(text) is alias
