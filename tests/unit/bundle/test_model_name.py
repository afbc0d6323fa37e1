from __future__ import annotations

import pytest

from bundle.errors import ManifestError, NotFoundError
from bundle.model_name import check_asked_name, check_model_name

INVISIBLE = ["", " ", "tab\tname", "line\nname", " a", "a ", "a\x00", "\x1b[31m", "a\u200bb"]
INVISIBLE += ["a\u202eb", "a\xa0b", "\ud800"]


@pytest.mark.parametrize("name", ["digits", "it's", 'say "hi"', "a/b", "a b", "模型", "a" * 500])
def test_whatever_can_be_seen_may_be_asked_for(name):
    assert check_asked_name(name) == name


@pytest.mark.parametrize("name", INVISIBLE)
def test_a_name_that_looks_like_another_one_is_refused(name):
    with pytest.raises(NotFoundError, match=r"no model '.*' can be asked for") as found:
        check_asked_name(name)
    assert found.value.field == "name"
    assert str(found.value).isprintable()
    with pytest.raises(ManifestError, match="cannot name a model"):
        check_model_name(name)


def test_a_long_name_is_not_repeated_in_full():
    with pytest.raises(ManifestError) as found:
        check_model_name("a" * 5_000)
    assert len(str(found.value)) < 120
