"""Sentry: collects how the versions of each split do, and says which challenger has to go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serving.routing.guardrail import Guardrail, Judgement, Policy, Verdict
from serving.routing.outcomes import Outcomes

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

    def to_dict(self) -> dict[str, Any]:
        return {
            "uri": self.uri,
            "version": self.version,
            "percent": self.percent,
            "verdict": self.judgement.verdict.value,
            "reason": self.judgement.reason,
        }


@dataclass(frozen=True)
class _Post:
    """What is watched of one --model."""

    name: str
    split: Split
    guardrails: dict[str, Guardrail]
    """By challenger."""


class Sentry:
    """What all API processes have seen of a tick counts as one: a batch may have requests of each.

    A tick is over when one of them tells of a later one.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        self._policy = policy or Policy()
        self._posts: dict[str, _Post] = {}
        self._tick = 0
        self._seen: dict[tuple[str, str], Outcomes] = {}
        """In this tick."""

    def settled(self, wanted: Wanted) -> None:
        """The split is served from now on. A challenger that was in the one before is still the
        same, in another stage; unless it is compared with another version.
        """
        route = wanted.route
        if route is None:
            return
        name, split = route.name, route.split
        before = self._posts.get(wanted.uri, _Post(name, split, {}))
        same = (before.name, before.split.reference) == (name, split.reference)
        kept = before.guardrails if same else {}
        if before.split != split:
            self._seen = {key: seen for key, seen in self._seen.items() if key[0] != name}
            for guardrail in kept.values():
                guardrail.next_stage()
        guardrails = {
            version: kept.get(version) or Guardrail(self._policy) for version in split.challengers
        }
        self._posts[wanted.uri] = _Post(name, split, guardrails)

    def observed(self, message: Observed) -> bool:
        """An API process tells what it has answered since it last did; whether a tick is over."""
        over = message.tick > self._tick
        if over:
            self._compare()
            self._tick = message.tick
        for key, outcomes in message.outcomes.items():
            self._seen.setdefault(key, Outcomes()).add(outcomes)
        return over

    def forget(self, uri: str, version: str) -> None:
        """What it did was judged: whoever gives it traffic again, knows of it."""
        self._posts[uri].guardrails.pop(version, None)

    def findings(self) -> Iterator[Finding]:
        """One for every challenger that is to have more traffic, or to lose it."""
        for uri in self._posts:
            for found in self.judgements(uri):
                if found.judgement.verdict is not Verdict.HOLD:
                    yield found

    def judgements(self, uri: str) -> list[Finding]:
        """Of every challenger of the model, as things stand."""
        post = self._posts.get(uri)
        if post is None:
            return []
        return [
            Finding(uri, version, post.split.shares[version], guardrail.judge())
            for version, guardrail in post.guardrails.items()
        ]

    def _compare(self) -> None:
        """The tick is over."""
        nothing = Outcomes()
        for post in self._posts.values():
            champion = self._seen.get((post.name, post.split.reference), nothing)
            for version, guardrail in post.guardrails.items():
                guardrail.add(champion, self._seen.get((post.name, version), nothing))
        self._seen = {}
