"""What can go wrong while training; every message is ready for a user.

bundle.errors.TrainyardError
└── TrainerError
    ├── ConfigError       the config names something that does not exist or does not fit (exit 2)
    ├── PreflightError    this machine cannot run what was asked for (exit 2)
    ├── DataError         the data are missing, empty or unreadable (exit 2)
    ├── CheckpointError   a checkpoint is missing, damaged, foreign or unsafe (exit 1)
    └── TrackingError     the MLflow server refuses what it is sent (exit 1)
        └── AwayError     it does not answer, or not now; the same may be sent again

bundle.errors.Stopped     SIGTERM asked the run to end; what was trained is saved (exit 143)
└── Interrupted           Ctrl-C did (exit 130)
"""

from __future__ import annotations

from bundle.errors import Interrupted, RequestError, Stopped, TrainyardError

__all__ = [
    "AwayError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Interrupted",
    "PreflightError",
    "Stopped",
    "TrackingError",
    "TrainerError",
]


class TrainerError(TrainyardError):
    """Root of the trainer's errors."""


class ConfigError(TrainerError, RequestError):
    """The config names something that does not exist, or parts that do not fit each other."""


class PreflightError(TrainerError, RequestError):
    """This machine cannot run what was asked for; raised before data are loaded."""


class DataError(TrainerError, RequestError):
    """The data are missing, empty, unreadable or of another kind than the model needs."""


class CheckpointError(TrainerError):
    """A checkpoint is missing, damaged, not ours, or not safe to load."""


class TrackingError(TrainerError):
    """The tracking server refuses what it is sent."""


class AwayError(TrackingError):
    """The tracking server does not answer, or cannot take anything now: it may take it later."""
