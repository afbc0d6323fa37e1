"""TrainyardServer: LitServe's server with our request path, supervision and way out."""

from __future__ import annotations

import contextlib
import multiprocessing
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from litserve import LitServer

from serving.api import ApiProcess
from serving.crowd import Crowd
from serving.process_name import call_this_process
from serving.routing.halt import Board, Halt, every_core_is_wanted
from serving.routing.watcher_process import WatcherStart, run_watcher
from serving.signature import WebhookSignature
from serving.worker import ModelsAPI, WorkerStart, run_worker

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from bundle.uri import Resolved
    from serving.guard import ApiKey
    from serving.routing.wanted import Wanted
    from serving.settings import Settings


class Closable(Protocol):
    """A pipe's end or a socket."""

    def close(self) -> None: ...


class TrainyardServer(LitServer):  # type: ignore[misc] # LitServe ships no types
    """Devices, worker loop and application are LitServe's; what it does not do for its users
    (deadlines, drain, supervision, clear errors) replaces its own `run`.

    API processes and workers are forked, which saves them a second of imports each; so this process
    must have no threads, no engine and no CUDA context.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        directory: Path,
        keys: tuple[ApiKey, ...] = (),
        secret: str = "",
    ) -> None:
        """`directory` is private to this server, and holds its sockets. `secret`: the webhook's."""
        self.settings = settings
        self.directory = directory
        self._keys = keys
        self._secret = secret
        self._crowd = Crowd(settings.api_processes)
        self._board = Board(settings.api_processes) if every_core_is_wanted(settings) else None
        """Which API processes have requests: shadows stand still then."""
        self._api: ApiProcess | None = None
        super().__init__(
            ModelsAPI(settings),
            accelerator="cpu",
            workers_per_device=settings.workers,
            timeout=False,
            disable_openapi_url=True,
        )

    def register_endpoints(self) -> None:
        """None: LitServe's paths would answer in other shapes. Ours are in `ApiProcess`."""

    def _register_middleware(self) -> None:
        """None: compressing the answers costs more than sending them."""

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:  # noqa: ARG002 - LitServe's signature
        """LitServe would start its own response task here."""
        if self._api is None:
            raise AssertionError("only API processes have a life span")
        async with self._api.running():
            yield

    def fork_worker(
        self,
        worker: int,
        *,
        generation: int,
        control: Connection,
        sources: tuple[Resolved, ...],
        pinned: frozenset[Resolved],
        foreign: Sequence[Closable],
    ) -> BaseProcess:
        """A new process for that worker, with these models; it reports on `control`. `foreign` are
        the supervisor's own ends, which it must not keep.
        """
        return self._fork_worker(
            f"worker-{worker}",
            worker,
            generation=generation,
            control=control,
            sources=sources,
            pinned=pinned,
            foreign=foreign,
        )

    def fork_shadow(
        self, *, generation: int, control: Connection, foreign: Sequence[Closable]
    ) -> BaseProcess:
        """A new process for versions that answer nobody; it is told on `control` which."""
        return self._fork_worker(
            "shadow-0", 0, generation=generation, control=control, foreign=foreign, shadow=True
        )

    def _fork_worker(
        self,
        name: str,
        worker: int,
        *,
        generation: int,
        control: Connection,
        foreign: Sequence[Closable],
        sources: tuple[Resolved, ...] = (),
        pinned: frozenset[Resolved] = frozenset(),
        shadow: bool = False,
    ) -> BaseProcess:
        """On the device of the worker of that number."""
        devices = self._inference_workers_config_for_api(self.lit_api.api_path)
        start = WorkerStart(
            api=self.lit_api,
            device=str(devices[worker]),
            worker=worker,
            address=self.address(name, generation=generation),
            control=control,
            sources=sources,
            pinned=pinned,
            shadow=shadow,
        )
        return _fork(partial(run_worker, start), name=name, foreign=foreign)

    def spawn_watcher(
        self, *, control: Connection, wanted: tuple[Wanted, ...], settled: tuple[Wanted, ...]
    ) -> BaseProcess:
        """A new process that asks the registry; it knows what is wanted so far. Spawned: of what
        it imports nothing is here.
        """
        start = WatcherStart(
            settings=self.settings,
            wanted=wanted,
            settled=settled,
            control=control,
            directory=self.directory,
        )
        process = multiprocessing.get_context("spawn").Process(
            target=run_watcher, args=(start,), name="watcher"
        )
        process.start()
        return process

    def fork_api(
        self,
        index: int,
        *,
        first: bool,
        control: Connection,
        listener: socket.socket,
        foreign: Sequence[Closable],
    ) -> BaseProcess:
        """A new API process. `foreign` are the supervisor's own ends, which it must not keep."""
        run = partial(self._run_api, index, first, control, listener)
        return _fork(run, name=f"api-{index}", foreign=foreign)

    def api_left(self, index: int) -> None:
        """That API process is dead, and has neither connections nor requests any more."""
        self._crowd.leave(index)
        if self._board is not None:
            self._board.busy(index, False)

    def address(self, name: str, *, generation: int) -> Path:
        """Where a worker listens; a worker that takes another's place listens elsewhere."""
        return self.directory / f"{name}-{generation}.sock"

    def _run_api(
        self, index: int, first: bool, control: Connection, listener: socket.socket
    ) -> None:
        self._api = ApiProcess(
            self.settings,
            first=first,
            control=control,
            directory=self.directory,
            lifespan=self.app,
            keys=self._keys,
            halt=Halt(self._board, index),
            place=self._crowd.place(index),
            signature=WebhookSignature(self._secret) if self._secret else None,
        )
        self._api.run(listener)


def _fork(run: Callable[[], None], *, name: str, foreign: Sequence[Closable]) -> BaseProcess:
    """A process of that name that does so, and keeps nothing of what is not its own."""
    process = multiprocessing.get_context("fork").Process(
        target=_run_forked, args=(run, name, foreign), name=name
    )
    process.start()
    return process


def _run_forked(run: Callable[[], None], name: str, foreign: Sequence[Closable]) -> None:
    call_this_process(name)
    for end in foreign:
        end.close()
    run()
