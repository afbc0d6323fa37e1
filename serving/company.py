"""Company: what arrives at the same time and may run together."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from serving.batch import Item, alike
from serving.job import Group, Job, count_samples, group_of
from serving.wire import INFER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from serving.transport import Link
    from serving.wire import Message


class Company(NamedTuple):
    """Parts of requests, of one group."""

    arrived: list[tuple[Link, Message]]
    group: Group
    samples: int
    shortest: int
    longest: int
    """Tokens of a sample."""
    deadline: float
    """The nearest of theirs, on time.monotonic's clock."""
    alone: bool
    """Whether none of them can be joined with any other."""

    @classmethod
    def of(cls, group: Group, arrived: list[tuple[Link, Message]]) -> Company:
        """All of these, which are of that group."""
        samples, deadline = 0, math.inf
        lengths = []
        for _, (_, fields, tensors) in arrived:
            samples += count_samples(tensors[0])
            lengths.append(fields["length"])
            deadline = min(deadline, fields["deadline"])
        alone = arrived[0][1].fields.get("alone", False)
        return cls(arrived, group, samples, min(lengths), max(lengths), deadline, alone)

    @property
    def tokens(self) -> int:
        """With their padding to each other."""
        return self.samples * self.longest

    @property
    def joins(self) -> bool:
        """Whether all of them may be padded to each other, and run as one."""
        return alike(self.shortest, self.longest) and (len(self.arrived) == 1 or not self.alone)

    def items(self, now: float, *, foretold: float) -> list[Item[Job]]:
        """As they run now, without having waited."""
        group, model = self.group, self.group[0]
        return [
            Item(
                Job(link, fields["id"], model, tensors[0], foretold, fields["routed"]),
                group=group,
                samples=count_samples(tensors[0]),
                arrived=now,
                due=now,
                deadline=fields["deadline"],
                length=fields["length"],
            )
            for link, (_, fields, tensors) in self.arrived
        ]


def companies(arrived: Iterable[tuple[Link, Message]]) -> list[Company] | None:
    """Who may run together of those that have come; None where anything but that is asked."""
    groups: defaultdict[Group, list[tuple[Link, Message]]] = defaultdict(list)
    for link, message in arrived:
        if message.kind != INFER:
            return None
        groups[group_of(message.fields)].append((link, message))
    return [Company.of(group, together) for group, together in groups.items()]
