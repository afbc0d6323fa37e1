"""What processes and threads tell each other about versions and routes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bundle.errors import TrainyardError
    from bundle.uri import Resolved
    from serving.routing.outcomes import Outcomes
    from serving.routing.wanted import Refusal, Route, Wanted


@dataclass(frozen=True)
class Polled:
    """Watcher → supervisor: what is to be served of one --model."""

    wanted: Wanted


@dataclass(frozen=True)
class Settled:
    """Supervisor → watcher: this is what is served now."""

    wanted: Wanted


@dataclass(frozen=True)
class Fetched:
    """Thread of the watcher → watcher: a version is on this machine, or why it is not."""

    name: str
    """The model's, in the registry."""
    number: int
    outcome: Resolved | TrainyardError


@dataclass(frozen=True)
class NotTaken:
    """Supervisor → watcher: no worker could load this version."""

    uri: str
    version: str
    reason: str


@dataclass(frozen=True)
class Hold:
    """Supervisor → worker: all that it is to hold, the default first."""

    sources: tuple[Resolved, ...]


@dataclass(frozen=True)
class Holding:
    """Worker → supervisor: what it holds, and what it could not load."""

    sources: frozenset[Resolved]
    refused: tuple[tuple[Resolved, str], ...] = ()
    loading: Resolved | None = None
    """What it is about to load: if it dies now, that is why."""
    used: dict[Resolved, float] = field(default_factory=dict)
    """When each was last asked for, on time.monotonic's clock."""


@dataclass(frozen=True)
class Routes:
    """Supervisor → API process: who answers what, and what is refused."""

    routes: tuple[Route, ...] = ()
    refused: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class Observed:
    """API process → supervisor → watcher: how the versions of splits did, by name and version."""

    outcomes: dict[tuple[str, str], Outcomes]
    tick: int
    """When, by a clock that all processes have in common."""


@dataclass(frozen=True)
class Look:
    """API process → supervisor → watcher: the registry may have changed; enforcer → watcher: it has
    to be told.
    """


@dataclass(frozen=True)
class Advance:
    """Enforcer → watcher: a challenger is no worse with the traffic that it has."""

    uri: str
    version: str
    percent: float
    """What it had."""
    found: float
    """When, on time.monotonic's clock: what is older by seconds is said anew, if it still holds."""


@dataclass(frozen=True)
class Call:
    """API process → supervisor → watcher: do this to the registry."""

    id: int
    action: str
    principal: str
    """The name of the API key."""
    request_id: str
    model: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    expires: float = math.inf
    """From when on nobody waits for an answer, on time.monotonic's clock: then it is not done."""
    process: int = -1
    """Which API process asks; the supervisor fills it in."""


@dataclass(frozen=True)
class Result:
    """Watcher → supervisor → API process: what came of a call."""

    id: int
    process: int
    status: int
    document: Any
    """On success what the action returns, else {"message", "field", "remedy"}."""
