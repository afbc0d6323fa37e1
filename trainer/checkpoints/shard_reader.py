"""ShardReader: reads shards, and no code with them.

torch's own reader unpickles the index of a torch.distributed.checkpoint without a check.
"""

from __future__ import annotations

import pickle
from typing import IO, TYPE_CHECKING, Any

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata

from trainer.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

_INDEX = ".metadata"
_SAFE_MODULES = (
    "torch.distributed.checkpoint.metadata",
    "torch.distributed.checkpoint.filesystem",
    "torch.distributed.checkpoint.planner",
)
_SAFE_NAMES = {
    ("torch", "Size"),
    ("torch", "device"),
    ("torch.serialization", "_get_layout"),
    ("collections", "OrderedDict"),
    ("pathlib", "PosixPath"),
}


class ShardReader(FileSystemReader):
    """Reads the index with an unpickler that knows the index's own classes only."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._index = path / _INDEX

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:  # noqa: ARG002
        try:
            with self._index.open("rb") as stream:
                metadata = _IndexUnpickler(stream).load()
        except Exception as error:
            raise CheckpointError(f"{self._index}: refused ({error})") from error
        if not isinstance(metadata, Metadata):
            raise CheckpointError(f"{self._index}: not an index of shards")
        return metadata


class _IndexUnpickler(pickle.Unpickler):
    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)

    def find_class(self, module: str, name: str) -> Any:
        known = module in _SAFE_MODULES and name.lstrip("_")[:1].isupper() and "." not in name
        if known or (module, name) in _SAFE_NAMES or _is_dtype(module, name):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not part of an index")


def _is_dtype(module: str, name: str) -> bool:
    return module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
