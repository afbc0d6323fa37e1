"""ModelRecord: one registered model as MLflow keeps it, in entities, aliases and tags."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bundle.errors import NotFoundError, RequestError
from bundle.fields import canonical_json
from bundle.model_name import check_asked_name
from bundle.quotation import listed, quoted
from bundle.registry.event import Event, read_event, read_events
from bundle.registry.tags import (
    EVENT_TAG,
    SPLIT_TAG,
    event_tags,
    read_routing,
    routing_tags,
)
from bundle.registry.version import ModelVersion, RegisteredModel, Standing
from bundle.shares import WHOLE
from bundle.version_number import CHAMPION, is_alias, version_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bundle.registry.routing import Routing

CANDIDATE = "candidate"
MAX_EVENTS = 200
"""Events kept of one model; older ones are dropped, and with them the way back past them."""
TICK = timedelta(microseconds=1)
"""How much later an event is than the last one where the writer's clock is behind."""


class ModelRecord:
    """Reads MLflow anew at each call; its errors are MLflow's own, for the store to translate.

    Raises NotFoundError for a name that nobody may ask for.
    """

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name

    def entity(self) -> Any:
        return self._client.get_registered_model(check_asked_name(self.name))

    def numbers(self) -> list[int]:
        """The version numbers, rising."""
        return [int(found.version) for found in self._entities()]

    def versions(self) -> list[ModelVersion]:
        aliases = self.entity().aliases
        return [_to_version(found, aliases) for found in self._entities()]

    def version(self, number: int) -> ModelVersion:
        found = self._client.get_model_version(self.name, str(number))
        return _to_version(found, self.entity().aliases)

    def summary(self) -> RegisteredModel:
        found = self.standing()
        return RegisteredModel(
            name=self.name,
            aliases=found.aliases,
            routing=found.routing,
            versions=tuple(self.numbers()),
        )

    def standing(self) -> Standing:
        """Raises RecordError for a split that nobody of ours wrote."""
        entity = self.entity()
        aliases = {alias: int(number) for alias, number in entity.aliases.items()}
        return Standing(aliases=aliases, routing=read_routing(entity))

    def routing(self) -> Routing:
        """Raises RecordError for a split that nobody of ours wrote."""
        return read_routing(self.entity())

    def events(self) -> list[Event]:
        """Oldest first."""
        return _events(self.entity())

    def unfinished(self) -> Event | None:
        """The last change, if whoever made it was killed before it was recorded as done; `after` is
        what it was to bring about. The same change once more brings that to its end.
        """
        return _unfinished(self.entity())[1]

    def check_exist(self, numbers: Sequence[int]) -> None:
        """Raise NotFoundError for a number that is no version, and where there is none at all."""
        self.entity()
        existing = self.numbers()
        if not existing:
            raise NotFoundError(
                f"model {self.name!r} has no versions yet",
                field="version",
                remedy="register a bundle: python export.py run=latest "
                + shlex.quote(f"register={self.name}"),
            )
        for number in numbers:
            if number not in existing:
                raise NotFoundError(
                    f"model {self.name!r} has no version {number}",
                    field="version",
                    remedy=f"its versions are {listed(existing)}",
                )

    def find(self, version: str) -> int:
        """The number of a version that is given by number or alias.

        Raises NotFoundError, or RequestError for what is neither of them.
        """
        number = version_number(version)
        if number is not None:
            return number
        aliases = self.entity().aliases
        remedy = (
            f"its versions are {listed(self.numbers())}, and its aliases {listed(sorted(aliases))}"
        )
        if not is_alias(version):
            raise RequestError(
                f"version={quoted(version)} is neither the number of a version nor an alias",
                field="version",
                remedy=remedy,
            )
        if version not in aliases:
            raise NotFoundError(
                f"model {self.name!r} has no alias {quoted(version)}",
                field="version",
                remedy=remedy,
            )
        return int(aliases[version])

    def add(self, number: int) -> None:
        """Make a new version the candidate, and the champion if there is none."""
        self._set_candidate(number)
        entity = self.entity()
        before = read_routing(entity)
        event = replace(_event_after(entity, "register", before, before), version=number)
        key = _event_key(event)
        if before.champion is None:
            event = replace(event, after=replace(before, champion=number))
            self._write(key, replace(event, pending=True).to_dict())
            self._client.set_registered_model_alias(self.name, CHAMPION, str(number))
        self._keep(event, key=key)

    def change(
        self, action: str, after: Routing, *, dry_run: bool, who: str | None = None
    ) -> Event:
        """Bring the routing about, unless this is a rehearsal, and keep the event."""
        return self._change(self.entity(), action, after, dry_run=dry_run, who=who)

    def redirect(
        self, action: str, traffic: Routing, *, dry_run: bool, who: str | None = None
    ) -> Event:
        """As `change`, of who answers alone: the shadow stays, unless it is one of them now."""
        entity = self.entity()
        after = traffic.with_shadow(read_routing(entity).shadow)
        return self._change(entity, action, after, dry_run=dry_run, who=who)

    def _change(
        self, entity: Any, action: str, after: Routing, *, dry_run: bool, who: str | None
    ) -> Event:
        """Where a new champion gets everything, it has everything from the first write on.

        MLflow writes one alias or tag at a time, and whoever looks in between sees it so; so does
        the history, if whoever writes is killed there.
        """
        before = read_routing(entity)
        key, event = _unfinished(entity)
        if event is None or (event.action, event.after) != (action, after):
            event = _event_after(entity, action, before, after, who=who)
            key = _event_key(event)
            if before == after:
                return event
        if dry_run:
            return event
        self._write(key, replace(event, pending=True).to_dict())
        if after.champion is not None and after.champion != before.champion:
            if before.split and not after.split:
                self._write(SPLIT_TAG, {str(after.champion): WHOLE})  # till the alias has moved
            self._client.set_registered_model_alias(self.name, CHAMPION, str(after.champion))
        old = routing_tags(before)
        for tag, document in routing_tags(after).items():
            if document is not None and document != old[tag]:
                self._write(tag, document)
            elif document is None and old[tag] is not None:
                self._client.delete_registered_model_tag(self.name, tag)
        self._keep(event, key=key)
        return event

    def _write(self, tag: str, document: Any) -> None:
        self._client.set_registered_model_tag(self.name, tag, canonical_json(document))

    def _entities(self) -> list[Any]:
        search = self._client.search_model_versions
        found = all_pages(search, filter_string=_filter_by_name(self.name))
        versions = [version for version in found if version.name == self.name]
        return sorted(versions, key=lambda version: int(version.version))

    def _set_candidate(self, number: int) -> None:
        """The newest version is the candidate, also where several are registered at once."""
        newest = number
        while True:
            self._client.set_registered_model_alias(self.name, CANDIDATE, str(newest))
            latest = self.numbers()[-1]
            if latest <= newest:
                return
            newest = latest

    def _keep(self, event: Event, *, key: str) -> None:
        """One tag an event, so that two writers never overwrite each other's."""
        self._write(key, event.to_dict())
        for old in sorted(event_tags(self.entity()))[:-MAX_EVENTS]:
            self._client.delete_registered_model_tag(self.name, old)


def _events(entity: Any) -> list[Event]:
    """Oldest first."""
    texts = list(event_tags(entity).values())
    return read_events(texts, now=lambda: read_routing(entity))


def _unfinished(entity: Any) -> tuple[str, Event | None]:
    """As `ModelRecord.unfinished`, with the key of its tag."""
    tags = event_tags(entity)
    key = max(tags, default="")
    last = read_event(tags[key]) if key else None
    if last is None or not last.pending:
        return key, None
    return key, replace(last, pending=False)


def _event_after(
    entity: Any, action: str, before: Routing, after: Routing, *, who: str | None = None
) -> Event:
    """An event of now, but later than the last one: clocks differ, and the order is by time."""
    event = new_event(action, before, after, who=who)
    earlier = _events(entity)
    if earlier and event.time <= earlier[-1].time:
        event = replace(event, time=earlier[-1].time + TICK)
    return event


def new_event(action: str, before: Routing, after: Routing, *, who: str | None = None) -> Event:
    """An event of now, by `who`, or else by whoever runs this."""
    return Event(
        time=datetime.now(UTC), who=who or _ourselves(), action=action, before=before, after=after
    )


def _event_key(event: Event) -> str:
    return f"{EVENT_TAG}{event.time:%Y%m%dT%H%M%S.%f}.{os.urandom(3).hex()}"


def _ourselves() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _filter_by_name(name: str) -> str:
    """It finds the name, and maybe others: no quote can be escaped, so that of names with both
    kinds of them one kind may be any character.
    """
    if "'" not in name:
        return f"name = '{name}'"
    if '"' not in name:
        return f'name = "{name}"'
    pattern = re.sub(r'["\\]', "_", name)
    return f'name LIKE "{pattern}"'


def all_pages(search: Any, **arguments: Any) -> list[Any]:
    """Everything that one of MLflow's searches finds."""
    found: list[Any] = []
    token = None
    while True:
        page = search(page_token=token, **arguments)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _to_version(found: Any, aliases: Mapping[str, Any]) -> ModelVersion:
    number = int(found.version)
    return ModelVersion(
        name=found.name,
        number=number,
        aliases=tuple(sorted(alias for alias, held in aliases.items() if int(held) == number)),
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        run_id=found.run_id or None,
        source=found.source,
        tags=dict(found.tags),
    )
