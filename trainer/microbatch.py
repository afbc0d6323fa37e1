"""MicroBatches: a batch that does not fit into memory, computed in pieces that do."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.errors import TrainerError
from trainer.memory import is_out_of_memory, release
from trainer.parallel.accord import AbandonedError, Accord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    Batch = Mapping[str, Tensor]

log = logging.getLogger(__name__)
T = TypeVar("T")


class MicroBatches:
    """Pieces of a batch are made half as large until they fit, in all processes alike.

    A batch that fails, in whichever process, is undone and computed again from its beginning.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        accord: Accord | None = None,
        notice: Callable[..., None] | None = None,
    ) -> None:
        """`notice` is called with the fields of the event in each process that ran out."""
        self.size: int | None = None
        """Samples a piece in each process; None: batches are computed whole."""
        self._evaluated: int | None = None
        self._accord = accord or Accord()
        self._notice = notice
        self._model = model
        self._has_batchnorm = any(isinstance(part, _BatchNorm) for part in model.modules())
        self._parameters: list[nn.Parameter] = []
        self._buffers: list[Tensor] = []
        self._kept: list[Tensor] = []

    def prepare(self, device: torch.device) -> None:
        """Called before the first batch, with the model where it will be computed."""
        self._parameters = [p for p in self._model.parameters() if p.requires_grad]
        self._buffers = list(self._model.buffers())
        self._kept = [torch.empty_like(buffer) for buffer in self._buffers]
        dtype = self._parameters[0].dtype if self._parameters else torch.float32
        self._accord.prepare(device, dtype)

    def backward(
        self, batch: Batch, compute: Callable[[Batch, int | None], T], *, step: int, rank: int
    ) -> list[T]:
        """Call `compute` for every piece, whose gradients add up in the parameters.

        It is given the piece's number, or None with the whole batch. Raises TrainerError if the
        smallest piece does not fit.
        """
        count = _count(batch)
        while True:
            results, failed = self._attempt(_cut(batch, self._pieces(count, self.size)), compute)
            if results is not None:
                return results
            was, self.size = self._shrink(count, self.size, step=step)
            if failed:
                self._tell(was, self.size, step=step, rank=rank, phase="train")

    def evaluate(
        self, batch: Batch, compute: Callable[[Batch], Tensor], *, step: int, rank: int
    ) -> Tensor:
        """What `compute` gives for the batch, its pieces joined along the first dimension.

        Each process decides for itself. Raises TrainerError like `backward`.
        """
        count = _count(batch)
        while True:
            try:
                results = [compute(piece) for piece in _cut(batch, self._cuts(count))]
                return results[0] if len(results) == 1 else torch.cat(results)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Not within `except`: the error's traceback holds on to tensors.
            release()
            was = min(self._evaluated or count, count)
            if was == 1:
                raise _too_large(1, step)
            self._evaluated = was // 2
            self._tell(was, self._evaluated, step=step, rank=rank, phase="evaluate")

    def _attempt(
        self, pieces: Sequence[Batch], compute: Callable[[Batch, int | None], T]
    ) -> tuple[list[T] | None, bool]:
        """The results, None if any process failed; and whether this one did."""
        earlier = [p.grad for p in self._parameters]  # of the batches that this one is added to
        adding = any(gradient is not None for gradient in earlier)
        if adding:
            self._set_gradients([None] * len(earlier))
        if self._buffers:
            torch._foreach_copy_(self._kept, self._buffers)
        results: list[T] = []
        failed = abandoned = False
        try:
            if len(pieces) == 1:
                results.append(compute(pieces[0], None))
            else:
                results += [compute(piece, number) for number, piece in enumerate(pieces)]
        except AbandonedError:
            abandoned = True
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failed = True
        # Not within `except`: the error's traceback holds on to tensors, and to the whole graph.
        if abandoned or self._accord.vote(failed=failed):
            results.clear()
            self._set_gradients(earlier)
            if self._buffers:
                torch._foreach_copy_(self._buffers, self._kept)
            release()
            return None, failed
        if adding:
            self._set_gradients(_added(earlier, [p.grad for p in self._parameters]))
        return results, False

    def _set_gradients(self, gradients: Sequence[Tensor | None]) -> None:
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient

    def _most(self, count: int) -> int:
        """Pieces that a batch can be cut into; one sample has no statistics to normalise by."""
        return max(1, count // 2) if self._has_batchnorm else count

    def _pieces(self, count: int, size: int | None) -> int:
        return 1 if size is None else min(math.ceil(count / size), self._most(count))

    def _cuts(self, count: int) -> int:
        return 1 if self._evaluated is None else math.ceil(count / self._evaluated)

    def _shrink(self, count: int, size: int | None, *, step: int) -> tuple[int, int]:
        """The size that did not fit, and the next one."""
        pieces = self._pieces(count, size)
        was = math.ceil(count / pieces)
        if pieces == self._most(count):
            raise _too_large(was, step)
        if size is None and self._has_batchnorm:
            log.warning("batch normalisation now uses the statistics of each micro-batch")
        return was, max(1, was // 2)

    def _tell(self, was: int, now: int, *, step: int, rank: int, phase: str) -> None:
        what = "training" if phase == "train" else "evaluation"
        log.warning(
            "OUT OF MEMORY at step %d, with %d samples in this process: from here on, %s takes a"
            " batch in micro-batches of %d",
            *(step, was, what, now),
        )
        if self._notice is not None:
            self._notice(step=step, rank=rank, phase=phase, **{"from": was, "to": now})


def _count(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def _cut(batch: Batch, pieces: int) -> list[Batch]:
    """Views of the batch; their sizes differ by at most one."""
    if pieces == 1:
        return [batch]
    parts = {name: tensor.tensor_split(pieces) for name, tensor in batch.items()}
    return [{name: part[number] for name, part in parts.items()} for number in range(pieces)]


def _added(one: Sequence[Tensor | None], other: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Sums; where one is missing, the other. `one` is overwritten."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    if pairs:
        torch._foreach_add_([a for a, _ in pairs], [b for _, b in pairs])
    return [b if a is None else a for a, b in zip(one, other, strict=True)]


def _too_large(size: int, step: int) -> TrainerError:
    samples = "a single sample" if size == 1 else f"a micro-batch of {size} samples"
    return TrainerError(
        f"out of memory at step {step}: {samples} does not fit",
        field="model",
        remedy="choose a smaller model, smaller inputs (data.height and data.width, or"
        " data.max_length), or precision=bf16; strategy=fsdp splits a model over devices",
    )
