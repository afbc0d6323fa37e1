"""ModelRegistry: numbered versions of bundles in MLflow, who answers, and the way back."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException

from bundle.archive import open_bundle, sha256_file
from bundle.command import describe
from bundle.errors import (
    ManifestError,
    NotFoundError,
    RecordError,
    RegistryError,
    RequestError,
)
from bundle.model_name import check_model_name
from bundle.paths import MANIFEST
from bundle.quotation import escaped, listed, quoted
from bundle.registry.artifacts import check_same, download, upload
from bundle.registry.event import PROMOTE, RAMP, ROLLBACK, WITHDRAW, Event
from bundle.registry.ramp import advanced, first_stage
from bundle.registry.record import ModelRecord, all_pages
from bundle.registry.rollback import previous_routing
from bundle.registry.routing import Routing, Share, check_shadow, check_unanswering
from bundle.registry.store import MlflowStore, already_exists
from bundle.registry.version import (
    ModelVersion,
    RegisteredModel,
    Standing,
    version_metrics,
    version_tags,
)
from bundle.shares import WHOLE, check_shares

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bundle.archive import Bundle


class ModelRegistry:
    """Over the MLflow client; the bundle's folder travels as the plain artifacts of a run.

    `tracking_uri`: else the environment's MLFLOW_TRACKING_URI, else sqlite:///mlflow.db.
    Every method raises RegistryError where the registry fails, its RecordError where one model's
    routing cannot be read, and NotFoundError for a model, version or alias that it does not have.
    """

    def __init__(self, tracking_uri: str | None = None) -> None:
        self._store = MlflowStore(tracking_uri)

    @property
    def uri(self) -> str:
        return self._store.uri

    def warm_up(self) -> None:
        """Have the first call take no longer than others, if nothing has to be waited for that lies
        on another machine. Raises what `models` does.
        """
        if self._store.is_here:
            self.models()

    def register(
        self,
        bundle_dir: Path | str,
        *,
        name: str | None = None,
        run_id: str | None = None,
        again: bool = True,
    ) -> ModelVersion:
        """Verify the bundle and make it the next version of the model, its `candidate`; unless it
        is one already and not to be one `again`.

        The first version is `champion` too. The files become artifacts of `run_id`, else of a run
        of their own. Raises the errors of `open_bundle`.
        """
        bundle = open_bundle(bundle_dir)
        name = _checked_name(name or bundle.manifest.name)
        sha256 = sha256_file(bundle.path / MANIFEST)
        missing = NotFoundError(f"there is no run {run_id}")
        with self._store.writing(missing=missing, create=True) as client:
            known = None if again else _registered(client, name, sha256)
            if known is not None:
                return known
            recorded = {} if run_id is None else client.get_run(run_id).data.metrics
            metrics = version_metrics(bundle.manifest, recorded=recorded)
            source, run_id = upload(
                client,
                bundle,
                manifest_sha256=sha256,
                name=name,
                run_id=run_id,
                root=self._store.artifact_root,
            )
            tags = version_tags(bundle.manifest, manifest_sha256=sha256, metrics=metrics)
            self._ensure_model(client, name)
            created = self._store.retry(
                lambda: client.create_model_version(
                    name, source, run_id=run_id, tags=tags, await_creation_for=0
                )
            )
            record = ModelRecord(client, name)
            record.add(int(created.version))
            return record.version(int(created.version))

    def registered(self, bundle: Bundle, name: str) -> ModelVersion | None:
        """The last version of that name that is this very bundle."""
        if not self._store.exists:
            return None
        with self._store.reading() as client:
            return _registered(client, name, sha256_file(bundle.path / MANIFEST))

    def models(self) -> list[RegisteredModel]:
        """Every registered model, by name; one that cannot be read says why."""
        with self._store.reading() as client:
            return [_summary(ModelRecord(client, name)) for name in _names(client)]

    def model(self, name: str) -> RegisteredModel:
        with self._store.reading(missing=_no_model(name)) as client:
            return ModelRecord(client, name).summary()

    def standing(self, name: str) -> Standing:
        """What a server follows; cheaper than `model`, which searches for the versions."""
        with self._store.reading(missing=_no_model(name)) as client:
            return ModelRecord(client, name).standing()

    def routing(self, name: str) -> Routing:
        """The champion and the split."""
        with self._store.reading(missing=_no_model(name)) as client:
            return ModelRecord(client, name).routing()

    def versions(self, name: str) -> list[ModelVersion]:
        """Every version of the model, by number."""
        with self._asking(name) as record:
            return record.versions()

    def get(self, name: str, version: int | str) -> ModelVersion:
        """The version of that number, or of that alias."""
        with self._asking(name) as record:
            number = version if isinstance(version, int) else record.find(version)
            record.check_exist([number])
            return record.version(number)

    def promote(
        self, name: str, number: int, *, dry_run: bool = False, who: str | None = None
    ) -> Event:
        """Make the version champion, with all the traffic.

        `who` is kept in the history; None for the user of this process.
        """
        with self._changing(name) as record:
            record.check_exist([number])
            return record.redirect(PROMOTE, Routing(champion=number), dry_run=dry_run, who=who)

    def split(
        self,
        name: str,
        shares: Mapping[int, float],
        *,
        dry_run: bool = False,
        who: str | None = None,
    ) -> Event:
        """Share the traffic, in percent by version number; the champion stays who it is."""
        wanted = check_shares(shares)
        with self._changing(name) as record:
            record.check_exist(list(shares))
            after = Routing(champion=record.routing().champion, split=wanted)
            return record.redirect("split", after, dry_run=dry_run, who=who)

    def ramp(
        self, name: str, number: int, *, dry_run: bool = False, who: str | None = None
    ) -> Event:
        """Give the version the first stage of a ramp; servers that watch it give it the others.

        Raises RequestError unless there is a champion to be compared with.
        """
        with self._changing(name) as record:
            record.check_exist([number])
            after = first_stage(name, number, record.routing())
            return record.redirect(RAMP, after, dry_run=dry_run, who=who)

    def advance(
        self, name: str, number: int, *, seen: float, who: str | None = None
    ) -> Event | None:
        """Take a ramp that gives the version `seen` percent to its next stage, if it still does."""
        with self._changing(name) as record:
            record.check_exist([number])
            half = record.unfinished()
            if half is not None and half.before.ramp == number and half.who == who:
                return record.redirect(half.action, half.after, dry_run=False, who=who)
            after = advanced(record.routing(), number, seen=seen)
            if after is None:
                return None
            action = PROMOTE if after.champion == number else RAMP
            return record.redirect(action, after, dry_run=False, who=who)

    def shadow(
        self,
        name: str,
        number: int | None,
        *,
        percent: float = WHOLE,
        dry_run: bool = False,
        who: str | None = None,
    ) -> Event:
        """Ask the version what others have answered, in so many percent; None: ask none any more.

        Raises RequestError for a version that has a share of the traffic.
        """
        with self._changing(name) as record:
            routing = record.routing()
            shadow = None
            if number is not None:
                record.check_exist([number])
                shadow = check_shadow(Share(number=number, percent=percent))
                check_unanswering(shadow, routing)
            after = replace(routing, shadow=shadow)
            return record.change("shadow", after, dry_run=dry_run, who=who)

    def rollback(self, name: str, *, dry_run: bool = False, who: str | None = None) -> Event:
        """Undo the last promotion, split or whole ramp that was not yet undone.

        Raises RequestError if the history has none, ConflictError if the guardrail was first.
        """
        with self._changing(name) as record:
            record.check_exist([])
            half = record.unfinished()
            if half is not None and half.action == ROLLBACK:
                return record.redirect(ROLLBACK, half.after, dry_run=dry_run, who=who)
            previous = previous_routing(record.events(), record.routing(), record.numbers())
            if previous is None:
                raise RequestError(
                    f"model {name!r} has no earlier champion or split to go back to",
                    field="name",
                    remedy=f"models.py history {name} shows what was done",
                )
            return record.redirect(ROLLBACK, previous, dry_run=dry_run, who=who)

    def withdraw(
        self, name: str, number: int, *, instead: int | None = None, who: str | None = None
    ) -> Event | None:
        """Give what a version has of a split to the one it is compared with; if it has all of the
        traffic meanwhile, to `instead`, which is champion then.

        None if it has nothing, or all of it and nobody is named instead.
        """
        with self._changing(name) as record:
            before = record.routing()
            after = before.without(number)
            if instead is not None and before.shares == {number: WHOLE}:
                record.check_exist([instead])
                after = Routing(champion=instead)
            if after is None:
                return None
            return record.redirect(WITHDRAW, after, dry_run=False, who=who)

    def history(self, name: str) -> list[Event]:
        """The last events, oldest first."""
        with self._asking(name) as record:
            return record.events()

    def download(self, name: str, number: int, destination: Path | str) -> Path:
        """Fetch the version's bundle and verify it; `destination` has all of it, or is untouched.

        A destination that holds this very bundle is left as it is. Raises IntegrityError if the
        files are not those that were registered.
        """
        target = Path(os.path.realpath(destination))
        sha256 = self.get(name, number).bundle_sha256()
        if target.exists():
            check_same(open_bundle(target), sha256)
            return target
        with self._store.reading() as client:
            source = client.get_model_version_download_uri(name, str(number))
            download(source, target, manifest_sha256=sha256, tracking_uri=self.uri)
        return target

    @contextmanager
    def _asking(self, name: str) -> Iterator[ModelRecord]:
        missing = _no_model(name)
        with self._naming_others(missing), self._store.reading(missing=missing) as client:
            yield ModelRecord(client, name)

    @contextmanager
    def _changing(self, name: str) -> Iterator[ModelRecord]:
        missing = _no_model(name)
        with self._naming_others(missing), self._store.writing(missing=missing) as client:
            yield ModelRecord(client, name)

    @contextmanager
    def _naming_others(self, missing: NotFoundError) -> Iterator[None]:
        """Whoever asks for a model that is not there is told which there are."""
        try:
            yield
        except NotFoundError as error:
            if error is missing:
                with suppress(RegistryError), self._store.reading() as client:
                    names = [escaped(name) for name in _names(client)]
                    missing.remedy = f"its models are {listed(names)}"
            raise

    def _ensure_model(self, client: Any, name: str) -> None:
        try:
            self._store.retry(lambda: client.create_registered_model(name))
        except MlflowException as error:
            if not already_exists(error):
                raise


def _names(client: Any) -> list[str]:
    return sorted(model.name for model in all_pages(client.search_registered_models))


def _registered(client: Any, name: str, manifest_sha256: str) -> ModelVersion | None:
    """The last version with that manifest, if its registration was finished."""
    record = ModelRecord(client, name)
    versions = record.versions() if record.numbers() else []
    same = [version for version in versions if version.manifest_sha256 == manifest_sha256]
    if not same or (same[-1] is versions[-1] and not same[-1].aliases):  # its aliases come last
        return None
    return same[-1]


def _summary(record: ModelRecord) -> RegisteredModel:
    """One that nobody can read, or ask for, hides no other."""
    try:
        return record.summary()
    except (RecordError, NotFoundError) as error:
        return RegisteredModel(
            name=record.name, aliases={}, routing=Routing(), versions=(), error=describe(error)
        )


def _checked_name(name: str) -> str:
    try:
        return check_model_name(name)
    except ManifestError as error:
        raise RequestError(str(error), field="name", remedy=error.remedy) from error


def _no_model(name: str) -> NotFoundError:
    return NotFoundError(
        f"there is no model {quoted(name)} in the registry",
        field="name",
        remedy="python models.py list tells which there are",
    )
