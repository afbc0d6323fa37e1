"""The machine that an export is for, on a machine that may not be it."""

from __future__ import annotations

import json

import pytest

from bundle.engine.availability import provider_missing
from optimize import target as target_module
from optimize.schema import Target
from optimize.target import resolve_target


@pytest.fixture
def machine(monkeypatch):
    """Pretends which providers run here."""

    def pretend(*running):
        def missing(what):
            return None if what in running else f"no {what} here"

        monkeypatch.setattr(target_module, "provider_missing", missing)
        monkeypatch.setattr(target_module, "plans_missing", lambda: missing("plans"))

    return pretend


@pytest.mark.parametrize("target", [Target.none, Target.cpu])
def test_target_that_every_machine_has_is_taken_as_asked(target):
    resolved = resolve_target(target)

    assert resolved.to_dict() == {
        "requested": target, "actual": target, "reason": "", "provider": "cpu",
    }  # fmt: skip
    assert resolved.describe() == f"{target} (asked for: {target})"
    assert resolved.notice is None
    assert resolved.provider == "cpu"


@pytest.mark.parametrize("target", [Target.cuda, Target.tensorrt])
def test_target_that_cannot_run_here_falls_back_and_says_why(target):
    if provider_missing("cuda") is None:
        pytest.skip("this machine has a GPU")

    resolved = resolve_target(target)

    assert resolved.actual is Target.cpu
    assert resolved.fell_back
    assert str(target) in resolved.reason
    assert f"target={target} cannot be had here, cpu instead" in resolved.notice
    assert json.loads(json.dumps(resolved.to_dict())) == {
        "requested": str(target),
        "actual": "cpu",
        "reason": resolved.reason,
        "provider": "cpu",
    }


def test_auto_is_the_cpu_without_a_notice_when_there_is_no_gpu():
    if provider_missing("cuda") is None:
        pytest.skip("this machine has a GPU")

    resolved = resolve_target(Target.auto)

    assert resolved.actual is Target.cpu
    assert resolved.reason
    assert resolved.notice is None


@pytest.mark.parametrize(
    ("requested", "running", "expected"),
    [
        (Target.auto, ["cuda"], ("cuda", "cuda", "")),
        (Target.auto, ["cuda", "tensorrt", "plans"], ("cuda", "cuda", "")),
        (Target.cuda, ["cuda"], ("cuda", "cuda", "")),
        (Target.tensorrt, ["cuda", "tensorrt"], ("tensorrt", "tensorrt", "")),
        (Target.tensorrt, ["cuda", "plans"], ("tensorrt", "cuda", "")),
        (Target.tensorrt, ["plans"], ("tensorrt", "cpu", "")),
        (Target.tensorrt, ["cuda"], ("cuda", "cuda", "no plans here; no tensorrt here")),
        (Target.tensorrt, [], ("cpu", "cpu", "no plans here; no tensorrt here; no cuda here")),
    ],
)
def test_target_is_the_best_that_runs(requested, running, expected, machine):
    machine(*running)

    resolved = resolve_target(requested)

    assert (resolved.actual, resolved.provider, resolved.reason) == expected
    assert resolved.to_dict()["provider"] == resolved.provider
    elsewhere = f"graphs judged on {resolved.provider}"
    assert (elsewhere in resolved.describe()) == (resolved.actual != resolved.provider)
