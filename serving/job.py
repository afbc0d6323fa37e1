"""Job: one part of a request as a worker has it, and what it says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.batch import Item
    from serving.served_model import ModelKey
    from serving.transport import Link
    from serving.wire import Tensors

OK = "ok"
REJECTED = "rejected"
"""The queue is full, or it would be too late."""
EXPIRED = "expired"
"""It does not run: the deadline passed while it waited, or it was taken back."""
CANCELLED = "cancelled"
"""Nobody waited for it any more. Never told, only counted."""
REFUSED = "refused"
"""The model does not take this input."""
FAILED = "failed"
"""The model does not answer anything."""
BEGUN = "begun"
"""It runs, and nobody waits for it any more."""
GONE = "gone"
"""The model is not held here."""

Group = tuple["ModelKey", str]
"""What may run together: the model, and the signature of its inputs."""


class Job(NamedTuple):
    """What to run, and whom to tell."""

    link: Link
    id: int
    model: ModelKey
    tensors: Tensors
    foretold: float
    """When it should have run, on time.monotonic's clock."""
    routed: bool = False
    """Whether any version of the model might have been asked."""
    shared: bool = False
    """Whether it was foretold to run beside others."""


def group_of(fields: dict[str, Any]) -> Group:
    """What a message to run something says of it."""
    return tuple(fields["model"]), fields["signature"]


def count_samples(tensors: Tensors) -> int:
    """Whose batch dimension is in front."""
    return len(next(iter(tensors.values())))


def answer(job_id: int, status: str, **fields: Any) -> dict[str, Any]:
    """One entry of a reply's "answers"."""
    return {"id": job_id, "status": status, **fields}


def share(batch: Sequence[Item[Job]]) -> float:
    """What each part has of the batch, of which only those count that name no version."""
    return 1.0 / max(1, sum(item.payload.routed for item in batch))
