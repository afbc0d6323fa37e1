"""Meeting: where the nodes of a run find each other."""

from __future__ import annotations

import os
import socket
import sys
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psutil
from torch.distributed.elastic.agent.server.api import WorkerSpec
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, LogsSpecs
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from trainer.errors import PreflightError, TrainerError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_JOIN_SECONDS = 300
_REJOIN_SECONDS = 40
"""How long nodes wait for one that is lost."""
_LAST_CALL_SECONDS = 15
"""How long nodes that are enough wait for more."""


@dataclass(kw_only=True)
class Meeting:
    """The rendezvous of this run's agents (torchrun's c10d backend)."""

    min_nodes: int
    max_nodes: int
    endpoint: str
    is_host: bool
    """Whether this node keeps the store, and is the first."""
    address: str
    """Of this node, as the others see it."""
    name: str
    _handler: Any = None

    @classmethod
    def plan(cls, cfg: DictConfig) -> Meeting:
        """Raises PreflightError if several nodes were not told where to meet, or which is which."""
        nodes = int(cfg.trainer.num_nodes)
        if nodes == 1:
            return cls(
                min_nodes=1,
                max_nodes=1,
                endpoint="127.0.0.1:0",
                is_host=True,
                address="127.0.0.1",
                name=uuid.uuid4().hex,
            )
        endpoint = cfg.trainer.rendezvous or _slurm_endpoint()
        rank = node_rank(cfg)
        if endpoint is None or ":" not in endpoint:
            raise PreflightError(
                f"trainer.num_nodes={nodes}, trainer.rendezvous={endpoint}: the nodes must be told"
                " where to meet",
                field="trainer.rendezvous",
                remedy="give all of them trainer.rendezvous=HOST:PORT of node 0",
            )
        return cls(
            min_nodes=int(cfg.trainer.min_nodes or nodes),
            max_nodes=nodes,
            endpoint=endpoint,
            is_host=rank == 0,
            address=_own_address(endpoint),
            name=f"trainyard-{endpoint}",
        )

    def worker_spec(
        self,
        *,
        processes: int,
        entrypoint: str,
        arguments: tuple[str, ...],
        max_restarts: int,
        monitor_seconds: float,
    ) -> WorkerSpec:
        """What the agent is to start; `processes` on this node."""
        self._handler = get_rendezvous_handler(
            RendezvousParameters(
                backend="c10d",
                endpoint=self.endpoint,
                run_id=self.name,
                min_nodes=self.min_nodes,
                max_nodes=self.max_nodes,
                local_addr=self.address,
                is_host=self.is_host,
                join_timeout=_JOIN_SECONDS,
                last_call_timeout=_LAST_CALL_SECONDS,
            )
        )
        return WorkerSpec(
            role="trainer",
            local_world_size=processes,
            entrypoint=entrypoint,
            args=arguments,
            rdzv_handler=self._handler,
            max_restarts=max_restarts,
            monitor_interval=monitor_seconds,
            local_addr=self.address,
        )

    def environment(self) -> dict[str, str]:
        """Which network interface the processes talk through."""
        interface = _interface(self.address)
        return {"GLOO_SOCKET_IFNAME": interface} if interface else {}

    def logs(self, folder: str) -> LogsSpecs:
        """Workers write to our own stdout and stderr."""
        return DefaultLogsSpecs(log_dir=folder)

    def close(self) -> None:
        """Tell the other nodes that the run is over."""
        if self._handler is not None:
            self._handler.shutdown()

    def explain(self, error: Exception) -> TrainerError:
        """One line for an error of the rendezvous."""
        text = " ".join(str(error).split()) or type(error).__name__
        return TrainerError(
            f"trainer.rendezvous={self.endpoint}: the nodes lost each other or did not meet"
            f" ({text})",
            field="trainer.rendezvous",
            remedy="see that every node runs and reaches HOST:PORT; start again with resume=auto",
        )


def expect_soon(handler: Any, *, after: float) -> None:
    """Nodes may start minutes apart; one that does not come again after a failure is lost.

    `after`: seconds by which the others may be later, as their restarts may be. torch has one
    limit for both meetings.
    """
    limit = timedelta(seconds=_REJOIN_SECONDS + after)
    handler._settings.timeout._set_timeouts(join=limit)  # noqa: SLF001 - tested


def node_rank(cfg: DictConfig) -> int:
    """The config's, else SLURM's. Raises PreflightError if neither says it."""
    rank = cfg.trainer.node_rank
    if rank is None:
        rank = os.environ.get("SLURM_NODEID")
    if rank is None:
        nodes = cfg.trainer.num_nodes
        raise PreflightError(
            f"trainer.num_nodes={nodes}, trainer.node_rank=null: which of them is this?",
            field="trainer.node_rank",
            remedy=f"give each its own, from 0 to {nodes - 1}; 0 is the one where they meet",
        )
    return int(rank)


def _slurm_endpoint() -> str | None:
    """The launch node, at a port that follows from the job's number."""
    host, job = os.environ.get("SLURM_LAUNCH_NODE_IPADDR"), os.environ.get("SLURM_JOB_ID")
    if not host or not job:
        return None
    return f"{host}:{20000 + int(job) % 10000}"


def _own_address(endpoint: str) -> str:
    """The address from which this machine reaches the endpoint; nothing is sent."""
    host, _, port = endpoint.rpartition(":")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, int(port)))
            return str(probe.getsockname()[0])
    except (OSError, ValueError) as error:
        raise PreflightError(
            f"trainer.rendezvous={endpoint}: cannot be reached ({error})",
            field="trainer.rendezvous",
            remedy="give HOST:PORT of node 0",
        ) from error


def _interface(address: str) -> str | None:
    """The network interface that has this address."""
    if sys.platform != "linux":
        return None
    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address == address for entry in entries):
            return name
    return None
