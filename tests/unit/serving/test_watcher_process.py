"""The watcher's process: what waits for the registry, and what does not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from serving.control import Stop
from serving.routing.administration import Administration, challenger_actions
from serving.routing.enforcer import Enforcer
from serving.routing.messages import Call, Look, Observed, Settled
from serving.routing.orders import Orders
from serving.routing.watcher_process import sort_out
from tests.observed import settled_split

SPLIT = settled_split({1: 90.0, 2: 10.0})


class Process:
    """Where each message went."""

    def __init__(self) -> None:
        self.observed: list[object] = []
        self.served: list[object] = []
        self.kept: list[object] = []
        self.told: list[object] = []
        self.posted: list[object] = []

    def hear(self, message: object) -> None:
        enforcer = SimpleNamespace(observed=self.observed.append, serves=self.served.append)
        orders = Orders((SPLIT,), tell=pytest.fail)
        judge = Enforcer(orders, sentry=None, metrics=None, post=pytest.fail)
        sort_out(
            message,
            enforcer=enforcer,
            challengers=Administration(challenger_actions(judge)),
            keep=self.kept.append,
            tell=self.told.append,
            post=self.posted.append,
        )


@pytest.fixture
def process():
    return Process()


def test_what_was_observed_waits_for_no_registry(process):
    message = Observed({}, 1)
    process.hear(message)
    assert process.observed == [message]
    assert process.posted == []


def test_what_is_served_is_kept_for_the_next_start_while_the_registry_is_asked(process):
    process.hear(Settled(SPLIT))
    assert process.served == process.kept == [SPLIT]
    assert process.posted == []


@pytest.mark.parametrize(
    ("model", "expires", "status"), [("m", 1e18, 200), ("other", 1e18, 404), ("m", 0.0, 504)]
)
def test_challengers_are_told_of_at_once(process, model, expires, status):
    process.hear(Call(1, "challengers", "k", "r", model=model, expires=expires))
    [result] = process.told
    assert result.status == status
    assert process.posted == []


def test_all_else_is_posted(process):
    messages = [Look(), Call(1, "list", "k", "r"), Stop()]
    for message in messages:
        process.hear(message)
    assert process.posted == messages
    assert process.told == []
