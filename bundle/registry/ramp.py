"""Ramp: a challenger's share grows stage by stage.

The stage that it has reached is in the registry, so that any server that follows the model can take
it to the next one.
"""

from __future__ import annotations

from bundle.errors import ConflictError, RequestError
from bundle.registry.routing import Routing
from bundle.shares import WHOLE

STAGES = (1.0, 5.0, 25.0, WHOLE)
"""Percent of the traffic that a challenger has, one stage after the other."""

_PROMOTE = "promote the version that it is to be compared with first"


def next_stage(percent: float) -> float | None:
    """The share after this one; None if there is no more to be had."""
    return next((stage for stage in STAGES if stage > percent + 1e-9), None)


def first_stage(name: str, number: int, routing: Routing) -> Routing:
    """A version that has more than the first stage already keeps it, so that nobody is moved back.

    Raises ConflictError while another ramp goes on, and RequestError unless there is a champion
    with traffic to be compared with, and nobody else.
    """
    if routing.ramp is not None:
        raise ConflictError(
            f"a ramp of {name!r} to version {routing.ramp} is under way, with "
            f"{routing.shares[routing.ramp]:g} percent",
            field="version",
            remedy=f"let it go on; or end it: models.py rollback {name}",
        )
    champion = routing.champion
    if champion is None or champion == number:
        other = "" if champion is None else "other "
        raise RequestError(
            f"version {number} of {name!r} has no {other}champion to be compared with",
            field="version",
            remedy=_PROMOTE if champion is None else f"ramp another version, or {_PROMOTE}",
        )
    if champion not in routing.shares:
        raise RequestError(
            f"the champion of {name!r}, version {champion}, has no traffic, with which version "
            f"{number} could be compared",
            field="version",
            remedy=_PROMOTE,
        )
    others = sorted(routing.shares.keys() - {champion, number})
    if others:
        raise RequestError(
            f"version {' and '.join(map(str, others))} of {name!r} has traffic too, and a ramp is "
            f"between version {number} and the champion alone",
            field="version",
            remedy=f"split the traffic between versions {champion} and {number} first",
        )
    return _at(champion, number, max(STAGES[0], routing.shares.get(number, 0.0)))


def advanced(routing: Routing, number: int, *, seen: float) -> Routing | None:
    """The stage after the one of `seen` percent; None unless a ramp is at that one now.

    Of several servers that found the challenger no worse the first one advances the ramp: what the
    others saw was the stage before.
    """
    champion, stage = routing.champion, next_stage(seen)
    if routing.ramp != number or champion is None or stage is None:
        return None
    if routing.shares.get(number) != seen:
        return None
    return _at(champion, number, stage)


def _at(champion: int, number: int, stage: float) -> Routing:
    if stage >= WHOLE:
        return Routing(champion=number)
    return Routing(
        champion=champion, split={champion: round(WHOLE - stage, 2), number: stage}, ramp=number
    )
