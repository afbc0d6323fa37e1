"""Small answers: those that are written on the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.awaited import Answer


def are_small(answers: Sequence[Answer], *, most: int) -> bool:
    """Whether what the workers answered has at most so many bytes."""
    size = 0
    for answer in answers:
        for array in answer.outputs.values():
            size += array.nbytes
            if size <= most and array.dtype.hasobject:  # strings, of which these were the pointers
                size += sum(map(len, array.flat))
            if size > most:
                return False
    return True
