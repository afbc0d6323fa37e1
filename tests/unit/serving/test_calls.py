"""What an API process asks of the registry, and is not answered in time."""

from __future__ import annotations

import asyncio

import pytest

from serving.calls import Calls
from serving.errors import UnavailableError
from serving.exchange import Exchange
from serving.metrics import RequestRecord


@pytest.mark.parametrize(
    ("action", "remedy"),
    [
        ("rollback", "look at /admin/models/digits/history whether the change was made"),
        ("history", "try again in 1 s"),
    ],
)
def test_who_is_not_answered_in_time_is_told_to_repeat_only_what_changes_nothing(action, remedy):
    sent = []
    calls = Calls(sent.append, seconds=0.01)
    exchange = Exchange("r", RequestRecord("/admin"))
    with pytest.raises(UnavailableError, match=r"not answered within 0\.01 s") as caught:
        asyncio.run(calls.ask(exchange, action, model="digits"))
    assert caught.value.code == "registry_away"
    assert caught.value.remedy == remedy
    assert [call.action for call in sent] == [action]


def test_what_is_not_answered_when_the_server_ends_is_answered_with_an_error():
    async def ask() -> None:
        calls = Calls(lambda _: None)
        asked = asyncio.ensure_future(calls.ask(Exchange("r", RequestRecord("/admin")), "list"))
        await asyncio.sleep(0)
        calls.fail_all(lambda: UnavailableError("it ends", code="stopping"))
        await asked

    with pytest.raises(UnavailableError, match="it ends"):
        asyncio.run(ask())
