"""Tags: a model's routing and history as MLflow keeps them, beside the champion's alias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from bundle.errors import ManifestError, RecordError, RequestError
from bundle.fields import Fields, parse_json
from bundle.quotation import quoted
from bundle.registry.routing import Routing, Share, check_shadow, read_split
from bundle.shares import check_shares
from bundle.version_number import CHAMPION

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

SPLIT_TAG = "trainyard.split"
_RAMP_TAG = "trainyard.ramp"
"""The version, and the percent that the ramp gave it: a split of other shares is no stage of it."""
_SHADOW_TAG = "trainyard.shadow"
EVENT_TAG = "trainyard.event."


def routing_tags(routing: Routing) -> dict[str, Any]:
    """The routing but for the champion, which is an alias, as JSON by tag."""
    document = routing.to_dict()
    ramp = routing.ramp
    stage = None if ramp is None else Share(number=ramp, percent=routing.split[ramp]).to_dict()
    return {
        SPLIT_TAG: document["split"],
        _RAMP_TAG: stage,
        _SHADOW_TAG: document.get("shadow"),
    }


def read_routing(entity: Any) -> Routing:
    champion = entity.aliases.get(CHAMPION)
    split = _read_tag(entity, SPLIT_TAG, lambda fields: check_shares(read_split(fields))) or {}
    ramp = _read_tag(entity, _RAMP_TAG, Share.from_fields)
    return Routing(
        champion=None if champion is None else int(champion),
        split=split,
        ramp=ramp.number if ramp is not None and split.get(ramp.number) == ramp.percent else None,
        shadow=_read_tag(
            entity, _SHADOW_TAG, lambda fields: check_shadow(Share.from_fields(fields))
        ),
    )


def _read_tag(entity: Any, tag: str, read: Callable[[Fields], T]) -> T | None:
    """None where the model has no such tag. Raises RecordError."""
    text = entity.tags.get(tag)
    if not text:
        return None
    try:
        return read(Fields(parse_json(text, name=tag)))
    except (ManifestError, RequestError) as error:
        noun = tag.rpartition(".")[2]
        raise RecordError(
            f"model {entity.name!r} has an unreadable {noun} {quoted(text)}: {error}",
            field=tag,
            remedy=f"delete the model's tag {tag} in MLflow",
        ) from error


def event_tags(entity: Any) -> dict[str, str]:
    return {key: text for key, text in entity.tags.items() if key.startswith(EVENT_TAG)}
