"""What runs when, without a clock or a thread."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from serving.batch import Item, Pace, cut
from serving.batching import MOST_OVERTAKEN, Batcher

if TYPE_CHECKING:
    from collections.abc import Callable


def item(
    name: str,
    *,
    arrived: float = 0.0,
    samples: int = 1,
    group: str = "g",
    deadline: float = 100.0,
    priority: int = 1,
    due: float | None = None,
    length: int = 1,
    saves: float = math.inf,
    pace: Pace | None = None,
    alone: bool = False,
    origin: str | None = None,
) -> Item[str]:
    """Due a second after it arrived, unless told otherwise."""
    return Item(
        name,
        group=group,
        samples=samples,
        arrived=arrived,
        due=arrived + 1.0 if due is None else due,
        deadline=deadline,
        priority=priority,
        length=length,
        saves=saves,
        pace=pace,
        alone=alone,
        origin=origin,
    )


def batcher(
    *, batch_size: int = 4, capacity: int = 100, batch_tokens: int | None = None
) -> Batcher[str]:
    return Batcher(batch_size=batch_size, capacity=capacity, batch_tokens=batch_tokens)


def names(items: list[Item[str]]) -> list[str]:
    return [entry.payload for entry in items]


def test_batcher_asks_to_be_woken_by_arrivals_only_when_empty():
    assert batcher().poll(5.0).wake is None


def test_batcher_waits_for_company_until_the_oldest_item_is_due():
    queue = batcher()
    queue.add(item("first", arrived=0.0))
    queue.add(item("second", arrived=0.9))
    early = queue.poll(0.99)
    assert (early.batch, early.wake) == ([], 1.0)
    assert names(queue.poll(1.0).batch) == ["first", "second"]


def test_what_waits_is_shared_out_over_pieces():
    queue = batcher(batch_size=8)
    for name in "abcde":
        queue.add(item(name))
    assert names(queue.poll(9.0, pieces=lambda _: 2).batch) == ["a", "b", "c"]
    assert names(queue.poll(9.0, pieces=lambda _: 2).batch) == ["d"]
    assert names(queue.poll(9.0).batch) == ["e"]


def test_batcher_sends_at_once_when_full():
    queue = batcher(batch_size=2)
    queue.add(item("a"))
    queue.add(item("b"))
    assert names(queue.poll(0.0).batch) == ["a", "b"]


def test_batcher_sends_at_once_what_is_due_when_it_comes():
    queue = batcher()
    queue.add(item("a", arrived=3.0, due=3.0))
    assert names(queue.poll(3.0).batch) == ["a"]


def test_batcher_counts_samples_not_items():
    queue = batcher(batch_size=4)
    queue.add(item("three", samples=3))
    queue.add(item("two", samples=2))
    assert names(queue.poll(0.0).batch) == ["three"]
    assert names(queue.poll(1.0).batch) == ["two"]


def test_batcher_keeps_groups_apart():
    queue = batcher(batch_size=2)
    queue.add(item("a", group="left"))
    queue.add(item("b", group="right"))
    assert queue.poll(0.5).batch == []
    assert names(queue.poll(1.0).batch) == ["a"]
    assert names(queue.poll(1.0).batch) == ["b"]


def test_batcher_serves_the_longest_waiting_group_before_a_full_one():
    queue = batcher(batch_size=2)
    queue.add(item("old", group="left", arrived=0.0))
    queue.add(item("new", group="right", arrived=1.5))
    queue.add(item("newer", group="right", arrived=1.5))
    assert names(queue.poll(1.5).batch) == ["old"]
    assert names(queue.poll(1.5).batch) == ["new", "newer"]


def test_batcher_takes_priorities_first_and_keeps_the_order_among_equals():
    queue = batcher(batch_size=2)
    for name, priority in (("low", 9), ("high-1", 1), ("high-2", 1)):
        queue.add(item(name, priority=priority))
    assert names(queue.poll(0.0).batch) == ["high-1", "high-2"]
    assert names(queue.poll(1.0).batch) == ["low"]


def test_batcher_never_runs_what_is_past_its_deadline():
    queue = batcher()
    queue.add(item("late", deadline=0.5))
    queue.add(item("fine"))
    poll = queue.poll(1.0)
    assert (names(poll.batch), names(poll.expired)) == (["fine"], ["late"])
    assert len(queue) == 0


def test_batcher_refuses_what_exceeds_its_capacity_and_takes_it_later():
    queue = batcher(batch_size=2, capacity=3)
    assert queue.add(item("a", samples=2))
    assert not queue.add(item("b", samples=2))
    assert queue.add(item("c"))
    assert names(queue.poll(0.0).batch) == ["a"]
    assert queue.add(item("b", samples=2))


def test_batcher_refuses_an_item_larger_than_a_batch():
    with pytest.raises(ValueError, match="1 to 2 samples"):
        batcher(batch_size=2).add(item("large", samples=3))


def test_batcher_forgets_what_is_discarded():
    queue = batcher(batch_size=2)
    gone = item("gone")
    queue.add(gone)
    queue.add(item("kept"))
    assert queue.discard(gone)
    assert not queue.discard(gone)
    assert queue.poll(0.0).batch == []
    assert names(queue.poll(1.0).batch) == ["kept"]


def test_batcher_holds_no_entries_of_items_that_were_discarded_behind_others():
    queue = batcher(batch_size=1000, capacity=10_000)
    queue.add(item("stays", priority=1, due=1e9))
    for number in range(1000):
        late = item(str(number), priority=9, due=1e9)
        queue.add(late)
        queue.discard(late)
    [group] = queue._groups.values()
    assert list(group.queues) == [1]
    assert len(queue._due._entries) < 200


def test_batcher_runs_the_oldest_with_what_is_nearest_to_it_in_length():
    queue = batcher(batch_size=3)
    for name, length in (("oldest", 50), ("far", 90), ("near", 52), ("short", 20), ("nearer", 49)):
        queue.add(item(name, length=length))
    assert names(queue.poll(0.0).batch) == ["oldest", "nearer", "near"]


def takes(seconds: float) -> Callable[[int], float]:
    """All that waits does."""
    return lambda _: seconds


def test_batcher_takes_those_of_the_same_origin_first_where_it_has_to_choose():
    queue = batcher(batch_size=3)
    for name in ("a1", "b1", "b2", "a2", "b3", "a3", "a4"):
        queue.add(item(name, origin=name[0]))
    assert names(queue.poll(0.0, takes=takes(1.0)).batch) == ["a1", "a2", "a3"]
    assert names(queue.poll(0.0, takes=takes(1.0)).batch) == ["b1", "b2", "b3"]
    assert names(queue.poll(1.0, takes=takes(1.0)).batch) == ["a4"]


def test_batcher_fills_a_batch_from_other_origins():
    queue = batcher(batch_size=3)
    for name in ("a1", "b1", "c1", "a2"):
        queue.add(item(name, origin=name[0]))
    assert names(queue.poll(0.0, takes=takes(1.0)).batch) == ["a1", "a2", "b1"]


@pytest.mark.parametrize("tells", [{"length": 2}, {"priority": 2}, {"group": "other"}])
def test_batcher_keeps_to_the_order_of_arrival_where_more_than_that_tells_items_apart(tells):
    queue = batcher(batch_size=2)
    for name in ("a1", "b1", "a2"):
        queue.add(item(name, origin=name[0]))
    queue.add(item("c1", origin="c", **tells))
    assert names(queue.poll(0.0, takes=takes(1.0)).batch) == ["a1", "b1"]


@pytest.mark.parametrize(
    ("seconds", "batch"), [(4.0, ["a1", "a2"]), (4.1, ["a1", "b1"]), (0.0, ["a1", "b1"])]
)
def test_batcher_keeps_to_the_order_of_arrival_unless_the_nearest_deadline_is_twice_as_far(
    seconds, batch
):
    queue = batcher(batch_size=2)
    for name, deadline in (("a1", 9.0), ("b1", 9.0), ("a2", 8.0)):
        queue.add(item(name, origin=name[0], deadline=deadline))
    assert names(queue.poll(0.0, takes=takes(seconds)).batch) == batch


def test_batcher_keeps_to_the_order_of_arrival_behind_one_that_does_not_fit():
    queue = batcher(batch_size=4)
    for name, samples in (("a1", 3), ("a2", 3), ("b1", 1), ("a3", 1)):
        queue.add(item(name, samples=samples, origin=name[0]))
    assert names(queue.poll(0.0, takes=takes(1.0)).batch) == ["a1", "b1"]


def test_batcher_looks_for_an_origin_among_those_only_that_came_first():
    queue = batcher(batch_size=2)
    for name in ("a1", "b1", "b2", "b3", "a2"):
        queue.add(item(name, origin=name[0]))
    assert names(queue.poll(0.0, takes=takes(1.0)).batch) == ["a1", "b1"]


def test_batcher_keeps_a_batch_within_its_tokens_padding_included():
    queue = batcher(batch_size=10, batch_tokens=100)
    for name, length in (("a", 30), ("b", 25), ("c", 31), ("d", 24), ("e", 20)):
        queue.add(item(name, length=length))
    assert names(queue.poll(0.0).batch) == ["a", "c", "b"]
    assert names(queue.poll(1.0).batch) == ["d", "e"]


def test_batcher_sends_at_once_when_the_tokens_are_full():
    queue = batcher(batch_size=10, batch_tokens=100)
    queue.add(item("a", length=60))
    assert queue.poll(0.0).batch == []
    queue.add(item("b", length=40))
    assert names(queue.poll(0.0).batch) == ["a"]


def test_batcher_runs_alone_what_has_more_tokens_than_a_batch():
    queue = batcher(batch_size=10, batch_tokens=100)
    queue.add(item("long", length=500))
    queue.add(item("short", length=5))
    assert names(queue.poll(0.0).batch) == ["long"]
    assert names(queue.poll(1.0).batch) == ["short"]


def test_batcher_does_not_pad_a_sample_to_many_times_its_length():
    queue = batcher(batch_size=10)
    queue.add(item("long", length=200))
    queue.add(item("short", length=20))
    queue.add(item("half", length=100))
    assert names(queue.poll(1.0).batch) == ["long", "half"]
    assert names(queue.poll(1.0).batch) == ["short"]


def test_cut_makes_pieces_that_can_run_as_one_batch():
    lengths = [5, 6, 7, 20, 21, 22, 90]
    pieces = [lengths[piece] for piece in cut(lengths, batch_size=4, batch_tokens=64)]
    assert pieces == [[5, 6, 7], [20, 21], [22], [90]]
    assert cut([], batch_size=4, batch_tokens=64) == []


def test_batcher_waits_on_as_long_as_that_costs_less_than_one_more_would_save():
    queue = batcher()
    queue.add(item("first", arrived=0.0, saves=0.4))
    alone = queue.poll(0.3)
    assert (alone.batch, alone.wake) == ([], 0.4)
    queue.add(item("second", arrived=0.35, saves=0.4))
    both = queue.poll(0.5)
    assert (both.batch, both.wake) == ([], pytest.approx(0.55))  # two lose as much in half the time
    assert names(queue.poll(0.56).batch) == ["first", "second"]


def test_batcher_waits_no_longer_than_an_item_may_however_much_company_saves():
    queue = batcher(batch_size=100)
    for number in range(10):
        queue.add(item(str(number), arrived=number / 10, saves=50.0))
    assert queue.poll(0.99).batch == []
    assert len(queue.poll(1.0).batch) == 10


def test_a_batcher_s_groups_do_not_keep_each_other_waiting():
    queue = batcher(batch_size=100)
    queue.add(item("alone", arrived=0.0, group="left", saves=0.2))
    for number in range(3):
        queue.add(item(str(number), arrived=0.1 * number, group="right", saves=50.0))
    assert names(queue.poll(0.21).batch) == ["alone"]


def test_whoever_cannot_wait_for_another_batch_goes_before_who_came_earlier():
    batcher: Batcher[str] = Batcher(batch_size=4, batch_tokens=64, capacity=10)
    batcher.add(Item("short", "g", 1, arrived=0.0, due=2.0, deadline=99.0, length=8))
    pressed = {"due": 1.0, "deadline": 2.0, "presses": 0.0}
    batcher.add(Item("long", "g", 1, arrived=0.5, length=64, **pressed))
    assert [item.payload for item in batcher.poll(1.0).batch] == ["long"]
    assert [item.payload for item in batcher.poll(2.0).batch] == ["short"]


def test_whoever_is_pressed_leads_though_somebody_of_a_lower_priority_has_less_time():
    queue = batcher(batch_size=4)
    queue.add(item("low", priority=5, deadline=3.0))
    queue.add(item("early", length=8))
    long = item("long", length=64, deadline=4.0)
    long.presses = 0.0
    queue.add(long)
    assert names(queue.poll(2.0).batch)[0] == "long"


def pressed(name: str, *, priority: int = 1) -> Item[str]:
    found = item(name, group="pressed", deadline=50.0, priority=priority)
    found.presses = 0.0
    return found


def led(queue: Batcher[str], *items: Item[str]) -> list[str]:
    """Who leads the batches, if one after the other comes when a batch may leave."""
    found = []
    for comes in items:
        queue.add(comes)
        found.append(queue.poll(2.0).batch[0].payload)
    return found


def test_whoever_has_been_overtaken_by_some_who_are_pressed_leads():
    queue = batcher()
    queue.add(item("first", group="patient"))
    leaders = led(queue, *[pressed(str(number)) for number in range(MOST_OVERTAKEN + 1)])
    assert leaders == [*map(str, range(MOST_OVERTAKEN)), "first"]


def test_whoever_has_been_overtaken_waits_for_a_higher_priority_all_the_same():
    queue = batcher()
    queue.add(item("first", group="patient", priority=2))
    leaders = led(queue, *[pressed(str(number)) for number in range(MOST_OVERTAKEN + 4)])
    assert leaders == [str(number) for number in range(MOST_OVERTAKEN + 4)]
    queue.add(pressed("last", priority=2))
    assert names(queue.poll(2.0).batch) == ["last"]


def test_a_batcher_counts_what_waits_by_group_and_in_batches():
    queue = batcher(batch_size=4, batch_tokens=100)
    assert queue.ahead(9) == []
    queue.add(item("a", samples=3, length=20))
    queue.add(item("b", samples=2, length=10, priority=5))
    queue.add(item("c", samples=1, length=30, group="h", priority=5))
    assert queue.ahead(5) == [("g", 5, 80), ("h", 1, 30)]
    assert [entry for entry in queue.ahead(1) if entry[1]] == [("g", 3, 60)]
    loads = ((0, 0), (4, 100), (5, 100), (4, 101))
    assert [queue.batches("g", *load) for load in loads] == [0, 1, 2, 2]


BY_SAMPLES = Pace(0.0, 1.0)
"""Batches that take a second a sample."""


def taken(*deadlines: float, batch_size: int = 8, pace: Pace | None = BY_SAMPLES) -> list[str]:
    """Of items with these deadlines, all of which are due."""
    queue = batcher(batch_size=batch_size)
    for number, deadline in enumerate(deadlines):
        queue.add(item(str(number), deadline=deadline, due=0.0, pace=pace))
    return names(queue.poll(0.0).batch)


def test_a_batch_does_not_go_past_the_nearest_deadline_in_it():
    assert taken(3.5, 9.0, 9.0, 9.0, 9.0) == ["0", "1", "2"]
    assert taken(9.0, 2.5, 9.0, 9.0) == ["0", "1"]


def test_who_would_be_late_in_a_batch_does_not_join_it():
    assert taken(9.0, 9.0, 2.5, 9.0) == ["0", "1", "3"]


def test_a_batch_goes_past_deadlines_that_it_cannot_meet_anyway():
    assert taken(0.5, 9.0, 9.0, 9.0) == ["0", "1", "2", "3"]
    assert taken(0.5, 0.5, 0.5, 0.5) == ["0", "1", "2", "3"]


def test_a_batch_is_not_cut_where_nobody_knows_what_it_takes():
    assert taken(3.5, 9.0, 9.0, 9.0, 9.0, pace=None) == ["0", "1", "2", "3", "4"]


def test_a_batch_is_not_cut_for_who_had_time_for_two_whole_ones():
    queue = batcher(batch_size=4)
    for number in range(4):
        queue.add(item(str(number), arrived=0.0, due=0.0, deadline=8.5, pace=BY_SAMPLES))
    assert names(queue.poll(6.0).batch) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("lengths", [(1, 1, 1), (1, 2, 1)])
def test_a_whole_group_that_is_one_batch_leaves_with_its_leader_first_and_nothing_of_it_stays(
    lengths,
):
    queue = batcher()
    first, second, third = (
        item(name, arrived=float(place), due=10.0, length=length)
        for place, (name, length) in enumerate(zip("abc", lengths, strict=True))
    )
    second.presses, second.deadline = 5.0, 50.0
    for entry in (first, second, third):
        queue.add(entry)
    polled = queue.poll(10.0)
    assert names(polled.batch)[0] == "b"
    assert sorted(names(polled.batch)) == ["a", "b", "c"]
    assert not any(entry.waiting for entry in polled.batch)
    assert len(queue) == 0
    assert list(queue.groups) == []
    assert queue.wake is None
    queue.add(item("next", arrived=20.0))
    assert names(queue.poll(21.0).batch) == ["next"]


def test_what_runs_alone_waits_for_no_company_and_leaves_one_by_one_in_order():
    queue = batcher(batch_size=8)
    for name in "abc":
        queue.add(item(name, group="alone", due=50.0, alone=True))
    queue.add(item("company", group="other", due=0.5))
    assert queue.batches("alone", 3, 3) == 3
    assert queue.batches("other", 3, 3) == 1
    assert [names(queue.poll(1.0).batch) for _ in range(4)] == [["company"], ["a"], ["b"], ["c"]]
    assert queue.wake is None


def test_of_what_runs_alone_a_higher_priority_goes_first():
    queue = batcher(batch_size=8)
    queue.add(item("low", group="alone", priority=5, alone=True))
    queue.add(item("high", group="alone", priority=1, alone=True))
    assert [names(queue.poll(0.0).batch) for _ in range(2)] == [["high"], ["low"]]
