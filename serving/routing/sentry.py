"""Sentry: collects how the versions of each split do, and says which challenger has to go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.routing.guardrail import Judgement, Policy, Verdict, judge
from serving.routing.outcomes import Outcomes
from serving.routing.slowness import Slowness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving.routing.messages import Observed
    from serving.routing.split import Split
    from serving.routing.wanted import Wanted


@dataclass(frozen=True)
class Finding:
    """What is to be said of one challenger."""

    uri: str
    version: str
    percent: float
    """What it had of the traffic when it did what is judged."""
    judgement: Judgement


class Sentry:
    """What was seen counts from the last change of the split: before it the load was another."""

    def __init__(self, policy: Policy | None = None) -> None:
        self._policy = policy or Policy()
        self._split: dict[str, tuple[str, Split]] = {}
        self._seen: dict[tuple[str, str], Outcomes] = {}
        self._slowness: dict[tuple[str, str], Slowness] = {}
        """By --model and challenger."""

    def settled(self, wanted: Wanted) -> None:
        """The split is served from now on."""
        route = wanted.route
        if route is None or self._split.get(wanted.uri) == (route.name, route.split):
            return
        self._split[wanted.uri] = (route.name, route.split)
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] != route.name}
        for other, (name, split) in self._split.items():
            if name == route.name:
                for version in split.challengers:
                    self._slowness[other, version] = self._unknown()

    def observed(self, message: Observed) -> None:
        """An API process tells what it has answered since it last did."""
        for key, outcomes in message.outcomes.items():
            self._seen.setdefault(key, Outcomes()).add(outcomes)
        nothing = Outcomes()
        for uri, (name, split) in self._split.items():
            one = message.outcomes.get((name, split.reference), nothing).durations
            for version in split.challengers:
                other = message.outcomes.get((name, version), nothing).durations
                self._slowness[uri, version].add(one, other)

    def forget(self, uri: str) -> None:
        """What was seen was judged: whoever gives the version traffic again, knows of it."""
        self._split.pop(uri, None)  # and what was seen goes with the next one that is settled

    def findings(self) -> Iterator[Finding]:
        """One for every challenger about which something can be said."""
        for uri, (name, split) in list(self._split.items()):
            for version in split.challengers:
                judgement = judge(
                    self._seen.get((name, split.reference), Outcomes()),
                    self._seen.get((name, version), Outcomes()),
                    self._slowness[uri, version],
                    self._policy,
                )
                if judgement.verdict is not Verdict.HOLD:
                    yield Finding(uri, version, split.shares[version], judgement)

    def _unknown(self) -> Slowness:
        return Slowness(ratio=self._policy.p95_ratio, safe_ratio=self._policy.advance_p95_ratio)
