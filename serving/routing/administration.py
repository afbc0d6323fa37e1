"""Administration: what the admin API asks for, done to the registry, and written down."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from bundle.errors import NotFoundError, RequestError, TrainyardError
from serving.logs import AUDIT
from serving.routing.messages import Call, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bundle.registry import ModelRegistry
    from serving.routing.ramp import Ramps

audit = logging.getLogger(AUDIT)

CHANGES = ("promote", "split", "rollback", "ramp")


class Administration:
    """The same as `models.py`, for whoever has a key of scope admin."""

    def __init__(self, registry: ModelRegistry, ramps: Ramps) -> None:
        self._registry = registry
        self._ramps = ramps
        self._actions: dict[str, Callable[[Call], Any]] = {
            "list": lambda _: {"models": [m.to_dict() for m in registry.models()]},
            "versions": lambda call: {
                "versions": [version.to_dict() for version in registry.versions(call.model)]
            },
            "show": lambda call: registry.get(call.model, call.arguments["version"]).to_dict(),
            "history": lambda call: {
                "history": [event.to_dict() for event in registry.history(call.model)]
            },
            "promote": self._promote,
            "split": self._split,
            "rollback": self._rollback,
            "ramp": self._ramp,
        }

    def answer(self, call: Call) -> Result:
        """What came of it; a change is in the log, whether it was allowed or not."""
        try:
            status, document = 200, self._actions[call.action](call)
        except TrainyardError as error:
            status = _status(error)
            document = {"message": str(error), "field": error.field, "remedy": error.remedy}
        if call.action in CHANGES:
            _write_down(call, status, document)
        return Result(call.id, call.process, status, document)

    @staticmethod
    def changed(call: Call) -> bool:
        """Whether the registry may have other routes than before the call."""
        return call.action in CHANGES and not call.arguments.get("dry_run")

    def _promote(self, call: Call) -> Any:
        event = self._registry.promote(
            call.model, call.arguments["version"], dry_run=_dry(call), who=_who(call)
        )
        return event.to_dict()

    def _split(self, call: Call) -> Any:
        event = self._registry.split(
            call.model, call.arguments["shares"], dry_run=_dry(call), who=_who(call)
        )
        return event.to_dict()

    def _ramp(self, call: Call) -> Any:
        event = self._ramps.begin(
            call.model, call.arguments["version"], dry_run=_dry(call), who=_who(call)
        )
        return event.to_dict()

    def _rollback(self, call: Call) -> Any:
        return self._registry.rollback(call.model, dry_run=_dry(call), who=_who(call)).to_dict()


def _dry(call: Call) -> bool:
    return bool(call.arguments.get("dry_run"))


def _who(call: Call) -> str:
    return f"key:{call.principal}"


def _status(error: TrainyardError) -> int:
    if isinstance(error, NotFoundError):
        return 404
    return 400 if isinstance(error, RequestError) else 503


def _write_down(call: Call, status: int, document: Mapping[str, Any]) -> None:
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
