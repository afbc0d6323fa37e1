"""Administration: what the admin API asks for, done to the registry, and written down."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bundle.errors import ConflictError, NotFoundError, RequestError, TrainyardError
from serving.line_limit import LineLimit
from serving.logs import AUDIT
from serving.routing.messages import Call, Result

if TYPE_CHECKING:
    from bundle.registry import Event, ModelRegistry
    from serving.routing.enforcer import Enforcer

audit = logging.getLogger(AUDIT)

CHALLENGERS = "challengers"
CHANGES = ("promote", "split", "rollback", "ramp", "shadow")

Actions = Mapping[str, Callable[[Call], Any]]
"""By name: what returns JSON, or raises a TrainyardError."""


class Administration:
    """The same as `models.py`, for whoever has a key of scope admin."""

    def __init__(self, actions: Actions) -> None:
        self._actions = actions

    def answer(self, call: Call) -> Result:
        """What came of it; a change is in the log, whether it was allowed or not."""
        if time.monotonic() > call.expires:
            return too_late(call)
        try:
            status, document = 200, self._actions[call.action](call)
        except TrainyardError as error:
            status = _status(error)
            document = {"message": str(error), "field": error.field, "remedy": error.remedy}
        write_down(call, status, document)
        return Result(call.id, call.process, status, document)

    @staticmethod
    def changed(call: Call, result: Result) -> bool:
        """Whether the registry may have other routes than before the call."""
        tried = result.status in (200, 503) and not call.arguments.get("dry_run")
        return tried and call.action in CHANGES


def registry_actions(registry: ModelRegistry) -> Actions:
    """What waits as long as the registry takes."""
    return {
        "list": lambda _: {"models": [m.to_dict() for m in registry.models()]},
        "versions": lambda call: {
            "versions": [version.to_dict() for version in registry.versions(call.model)]
        },
        "show": lambda call: registry.get(call.model, call.arguments["version"]).to_dict(),
        "history": lambda call: {
            "history": [event.to_dict() for event in registry.history(call.model)]
        },
        "promote": _change(registry.promote, "version"),
        "split": _change(registry.split, "shares"),
        "ramp": _change(registry.ramp, "version"),
        "shadow": _change(registry.shadow, "version", "percent"),
        "rollback": _change(registry.rollback),
    }


def challenger_actions(enforcer: Enforcer) -> Actions:
    """What the registry is not needed for."""
    return {CHALLENGERS: lambda call: enforcer.judgements(call.model)}


def _change(act: Callable[..., Event], *names: str) -> Callable[[Call], Any]:
    """What calls one of the registry's methods with the arguments of these names."""

    def change(call: Call) -> Any:
        event = act(
            call.model,
            *(call.arguments[name] for name in names[:1]),
            **{name: call.arguments[name] for name in names[1:] if name in call.arguments},
            dry_run=bool(call.arguments.get("dry_run")),
            who=f"key:{call.principal}",
        )
        return event.to_dict()

    return change


def _status(error: TrainyardError) -> int:
    if isinstance(error, NotFoundError):
        return 404
    if isinstance(error, ConflictError):
        return 409
    return 400 if isinstance(error, RequestError) else 503


def too_late(call: Call) -> Result:
    """Whoever asked was told that it has not been answered, and may have asked again."""
    return refusal(call, 504, "nobody waits for this any more: nothing was done", "ask again")


def refusal(call: Call, status: int, message: str, remedy: str) -> Result:
    """The answer to what is not even tried, written down like any other."""
    document = {"message": message, "remedy": remedy}
    write_down(call, status, document)
    return Result(call.id, call.process, status, document)


class RefusedChanges:
    """Of one process. Anybody can ask for them, so that there is a limit to their lines."""

    def __init__(self) -> None:
        self._limit = LineLimit()

    def write_down(
        self, *, principal: str, request_id: str, path: str, status: int, reason: str
    ) -> None:
        """A line in the log, if whoever asked must not: what it was is not looked at."""
        fields: dict[str, object] = {
            "principal": principal,
            "id": request_id,
            "path": path,
            "status": status,
            "reason": reason,
        }
        if self._limit.admit(fields):
            audit.info("audit", extra={"fields": fields})


def write_down(call: Call, status: int, document: Mapping[str, Any]) -> None:
    """A line in the log, if a change was asked for: what came of it."""
    if call.action not in CHANGES:
        return
    fields: dict[str, Any] = {
        "principal": call.principal,
        "id": call.request_id,
        "action": call.action,
        "model": call.model,
        "status": status,
        **call.arguments,
    }
    if "shares" in fields:
        fields["shares"] = {str(number): share for number, share in fields["shares"].items()}
    if status == 200:
        fields |= {"from": document["from"], "to": document["to"]}
    else:
        fields["reason"] = document["message"]
    audit.info("audit", extra={"fields": fields})
