"""Group: the processes that train one model together, and this one's place among them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Iterator

_JOIN_SECONDS = 120.0


def is_joined() -> bool:
    """Whether this process is one of a group that exchanges tensors."""
    return distributed.is_available() and distributed.is_initialized()


@dataclass(frozen=True, kw_only=True)
class Group:
    """One process alone, unless `from_environment` says otherwise."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    """Processes on this node."""

    @classmethod
    def from_environment(cls) -> Group:
        """The place that the agent gave this process."""
        return cls(
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            local_rank=int(os.environ["LOCAL_RANK"]),
            local_world_size=int(os.environ["LOCAL_WORLD_SIZE"]),
        )

    @property
    def is_main(self) -> bool:
        """Whether this process writes what only one may write."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.world_size == 1

    @property
    def nodes(self) -> int:
        return self.world_size // self.local_world_size

    @contextmanager
    def joined(self, *, accelerator: str, timeout: float) -> Iterator[None]:
        """Meet the others, and part again at the end.

        A collective that takes longer than `timeout` seconds raises RuntimeError on the CPU, and
        ends the process on a GPU.
        """
        gpu = accelerator == "gpu"
        if gpu:
            torch.cuda.set_device(self.local_rank)
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if gpu else "gloo",
            timeout=timedelta(seconds=max(timeout, _JOIN_SECONDS)),
            device_id=torch.device("cuda", self.local_rank) if gpu else None,
        )
        yield
        # Only after success: with a process missing, parting would wait for it.
        distributed.destroy_process_group()

    def count(self, *, yes: bool) -> int:
        """In how many processes the answer is yes; all of them call this."""
        answer = torch.tensor(int(yes))
        if not self.is_alone:
            distributed.all_reduce(answer)
        return int(answer)

    def broadcast(self, value: Any) -> Any:
        """What the main process calls `value`; a picklable object."""
        if self.is_alone:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]
