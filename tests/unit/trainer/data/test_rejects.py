from __future__ import annotations

import pytest

from trainer.data.rejects import Rejects
from trainer.errors import DataError


def test_rejects_raise_at_once_unless_they_are_to_be_skipped():
    with pytest.raises(DataError, match=r"^data\.root=x: row 3: bad$") as error:
        Rejects(where="data.root=x", on_error="fail").add("row 3", "bad")
    assert error.value.exit_code == 2


def test_rejects_name_only_the_first_few(caplog):
    rejects = Rejects(where="data.root=x", on_error="skip")
    for number in range(9):
        rejects.add(f"row {number}", "bad")
    rejects.report(total=20)
    assert len(rejects.found) == 9
    assert "9 of 20 samples" in caplog.text
    assert "row 4: bad; …" in caplog.text
    assert "row 5" not in caplog.text


def test_rejects_say_nothing_when_there_are_none(caplog):
    Rejects(where="data.root=x", on_error="skip").report(total=3)
    assert caplog.text == ""
