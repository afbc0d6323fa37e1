"""Lineage: where a bundle's weights come from and how it was made, as JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

import onnx
import onnxruntime
from omegaconf import OmegaConf

from bundle.errors import RequestError
from trainer import environment

if TYPE_CHECKING:
    from trainer.restore import Restored

EPOCH_VARIABLE = "SOURCE_DATE_EPOCH"
_FROM_CHECKPOINT = (
    "run_id",
    "git_commit",
    "data_fingerprint",
    "step",
    "epoch",
    "metrics",
    "versions",
)
"""What is copied from the checkpoint's own description."""


def describe_checkpoint(restored: Restored) -> dict[str, Any]:
    """The checkpoint's hash and what it says of its own origin; null for what it does not say."""
    config = json.dumps(OmegaConf.to_container(restored.config), sort_keys=True)
    return {
        "sha256": restored.sha256,
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        **{key: restored.metadata.get(key) for key in _FROM_CHECKPOINT},
    }


def versions() -> dict[str, str]:
    """Of everything that has a part in an exported graph and its golden answers."""
    found = {**environment.versions(), "onnx": onnx.__version__}
    found["onnxruntime"] = onnxruntime.__version__  # its distribution has several names
    for name in ("trainyard", "onnxscript"):
        with contextlib.suppress(metadata.PackageNotFoundError):  # a checkout, not installed
            found[name] = metadata.version(name)
    return found


def created() -> str:
    """Now, to the second, in UTC; with SOURCE_DATE_EPOCH that moment, for identical bytes."""
    given = os.environ.get(EPOCH_VARIABLE)
    try:
        moment = datetime.now(UTC) if given is None else datetime.fromtimestamp(int(given), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise RequestError(
            f"{EPOCH_VARIABLE}={given} is not a number of seconds since 1970", field=EPOCH_VARIABLE
        ) from error
    return moment.isoformat(timespec="seconds")
