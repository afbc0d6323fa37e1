"""Requests that are on the same turn of the event loop do one stage after the other, together."""

from __future__ import annotations

import asyncio

from serving.stage import others


def test_all_have_done_a_stage_before_any_does_the_next():
    done = []

    async def request(number: int) -> None:
        for stage in range(3):
            done.append((stage, number))
            await others()

    async def test() -> None:
        await asyncio.gather(*(request(number) for number in range(4)))

    asyncio.run(test())
    assert done == [(stage, number) for stage in range(3) for number in range(4)]
