from __future__ import annotations

from trainer.identity import differing_fields


def test_what_other_numbers_come_from_differs_and_where_a_run_computes_does_not():
    before = {"trainer": {"accumulate": 1, "threads": 1, "devices": 1}, "optim": {"lr": 0.1}}
    after = {"trainer": {"accumulate": 2, "threads": 2, "devices": 2}, "optim": {"lr": 0.2}}
    assert differing_fields(before, after) == ["optim.lr", "trainer.accumulate"]
    assert differing_fields(before, after | {"callbacks": {"patience": 3}, "optim": {}}) == [
        "trainer.accumulate"
    ]
