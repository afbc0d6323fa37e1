"""The models of the command line, as files on this machine."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

from bundle.errors import TrainyardError
from bundle.uri import Resolved, resolve
from serving.control import Failed
from serving.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection


def resolve_all(uris: Sequence[str]) -> list[Resolved]:
    """In order. Raises the errors of `bundle.uri.resolve`.

    What has to be asked for over a network is asked for by a process of its own: its clients start
    threads, which the processes that are forked from this one must not inherit.
    """
    if any("models:" in uri or "://" in uri for uri in uris):
        return _resolve_apart(uris)
    return [resolve(uri) for uri in uris]


def _resolve_apart(uris: Sequence[str]) -> list[Resolved]:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_run, args=(tuple(uris), theirs), name="resolver", daemon=True
    )
    process.start()
    theirs.close()
    try:
        answer: Failed | list[Resolved] = ours.recv()
    except EOFError:
        raise StartError("the process that looks for the models died") from None
    finally:
        ours.close()
    process.join()
    if isinstance(answer, Failed):
        raise answer.error()
    return answer


def _run(uris: tuple[str, ...], control: Connection) -> None:
    try:
        answer: Failed | list[Resolved] = [resolve(uri) for uri in uris]
    except TrainyardError as error:
        answer = Failed.of(error)
    control.send(answer)
