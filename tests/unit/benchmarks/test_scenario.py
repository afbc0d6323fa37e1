from __future__ import annotations

from benchmarks.servers.loads import loads
from benchmarks.servers.scenario import Claim, Scenario, play, quotient, table
from benchmarks.servers.scenarios import scenarios


def test_claims_are_medians_of_what_each_round_shows():
    fast, slow = iter([10.0, 40.0, 30.0]), iter([10.0, 10.0, 10.0])
    scenario = Scenario(
        "null",
        "nothing",
        {
            "ours": lambda _: {"per_second": next(fast)},
            "theirs": lambda _: {"per_second": next(slow)},
        },
        (
            Claim("met", quotient("per_second", "ours", "theirs"), at_least=3),
            Claim("missed", quotient("per_second", "ours", "theirs"), at_most=2),
            Claim("shown", quotient("per_second", "ours", "theirs")),
        ),
    )
    found = play(scenario, None, rounds=3)
    assert [side["per_second"] for side in found["sides"]["ours"]] == [10.0, 40.0, 30.0]
    assert {name: (claim["median"], claim["met"]) for name, claim in found["claims"].items()} == {
        "met": (3.0, True),
        "missed": (3.0, False),
        "shown": (3.0, True),
    }
    text = table("null", found)
    assert "aim ≥ 3: met" in text
    assert "aim ≤ 2: MISSED" in text


def test_scenarios_compute_on_as_many_threads_as_they_are_told():
    assert {load.threads for load in loads(2).values() if load.model in ("null", "cnn")} == {1}
    assert {name: loads(2)[name].threads for name in ("minilm", "mixed", "overload")} == {
        "minilm": 2, "mixed": 2, "overload": 1,
    }  # fmt: skip
    assert loads(1)["overload"].threads == 1
    assert list(scenarios(loads(2))) == [
        "null", "cnn", "minilm", "resnet18", "mixed", "idle", "overload",
    ]  # fmt: skip
