"""The models of the command line, as files on this machine."""

from __future__ import annotations

import multiprocessing
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from bundle.command import describe, describe_unexpected, print_traceback_if_asked
from bundle.errors import RegistryError, TrainyardError
from bundle.loading import loading
from bundle.uri import Resolved, default_cache, fetch_version, registered, resolve
from serving.control import Failed
from serving.errors import SettingsError, StartError
from serving.routing.fleet import Start
from serving.routing.last_known_good import LastKnownGood
from serving.routing.patience import bound_patience
from serving.routing.split import Split
from serving.routing.wanted import Route, Wanted
from serving.signals import OF_TERMINAL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from serving.routing.last_known_good import Known


def resolve_all(uris: Sequence[str]) -> list[Start]:
    """In order. Raises the errors of `bundle.uri.resolve`, unless what was served last will do.

    What has to be asked for over a network is asked for by a process of its own: its clients start
    threads, which the processes that are forked from this one must not inherit.
    """
    for uri in uris:
        if uris.count(uri) > 1:
            raise SettingsError(
                f"{uri} is given twice",
                field="model",
                remedy="name it once, or give it another name: --model NAME=URI",
            )
    if any("models:" in uri or "://" in uri for uri in uris):
        return _resolve_apart(uris)
    return [_fixed(uri) for uri in uris]


def _resolve_apart(uris: Sequence[str]) -> list[Start]:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_run, args=(tuple(uris), theirs), name="resolver", daemon=True
    )
    # What a terminal sends reaches all of its processes: this one ends that one, and tells.
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in OF_TERMINAL]
    try:
        process.start()
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    theirs.close()
    try:
        answer: Failed | list[Start] = ours.recv()
    except EOFError:
        process.join()
        raise StartError(
            f"the process that looks for {', '.join(uris)} died, exit code {process.exitcode}"
        ) from None
    finally:
        ours.close()
    process.join()
    if isinstance(answer, Failed):
        raise answer.error()
    return answer


def _run(uris: tuple[str, ...], control: Connection) -> None:
    bound_patience()
    control.send(_look_for(uris))


def _look_for(uris: Sequence[str]) -> Failed | list[Start]:
    """Storages have errors of their own: whatever it is, the uri is named."""
    starts = []
    for uri in uris:
        try:
            starts.append(_start(uri))
        except TrainyardError as error:
            print_traceback_if_asked()
            return Failed.of(error)
        except Exception as error:  # noqa: BLE001 - a command ends in one line, whatever happened
            asked = print_traceback_if_asked()
            told = describe_unexpected(error, traceback_shown=asked)
            return Failed(f"{uri} cannot be looked for: {told}", StartError.exit_code)
    return starts


def _start(uri: str) -> Start:
    source = registered(uri)
    if source is None:
        return _fixed(uri)
    with loading():  # MLflow takes seconds, which a plain folder need not wait for
        from bundle.registry import ModelRegistry
        from serving.routing.follower import Follower

    registry = ModelRegistry()
    cache = default_cache()
    store = LastKnownGood(cache, registry_uri=registry.uri)
    known = store.read(uri)
    if source.number is not None:
        return _numbered(uri, store, known)
    fetch = partial(fetch_version, registry, cache=cache)
    try:
        wanted = Follower(uri, registry=registry, fetch=fetch).poll()
    except TrainyardError as error:
        return _as_before(uri, known, error)
    if known is None:
        _check_whole(wanted)
        return Start(wanted, polled_at=time.time())
    wanted = wanted.withdrawing(known.wanted.withdrawn)
    return Start(wanted, known.wanted, polled_at=time.time())


def _check_whole(wanted: Wanted) -> None:
    """Raises StartError if a version is missing that requests are to go to: others must not answer
    in its place where nothing was served before.
    """
    found = {source.version for source in wanted.sources}
    for refusal in wanted.refused:
        if refusal.version in wanted.needed - found:
            raise StartError(refusal.reason)


def _numbered(uri: str, store: LastKnownGood, known: Known | None) -> Start:
    """A version's number means the same for ever, so what is known is as good as what is asked."""
    try:
        start = _fixed(uri)
    except RegistryError as error:
        before = _as_before(uri, known, error)
        sources = before.wanted.sources
        return Start(Wanted(uri=uri, sources=sources), warning=before.warning)
    [source] = start.wanted.sources
    name = source.name or ""
    route = Route(name=name, salt=name, split=Split.of({int(source.version): 100.0}, champion=None))
    store.write(start.wanted.with_route(route))
    return start


def _as_before(uri: str, known: Known | None, error: TrainyardError) -> Start:
    if known is None:
        raise error
    warning = f"{uri} is served as it was served last: {describe(error)}"
    return Start(known.wanted, known.wanted, polled_at=known.polled_at, warning=warning)


def _fixed(uri: str) -> Start:
    source: Resolved = resolve(uri)
    return Start(Wanted(uri=uri, sources=(source,)))
