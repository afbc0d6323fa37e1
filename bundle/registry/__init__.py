"""The registry: numbered versions of bundles in MLflow, which of them answer, and the way back."""

from __future__ import annotations

from bundle.registry.event import Event
from bundle.registry.registry import ModelRegistry
from bundle.registry.routing import Routing, Share
from bundle.registry.version import ModelVersion, RegisteredModel, Standing

__all__ = [
    "Event",
    "ModelRegistry",
    "ModelVersion",
    "RegisteredModel",
    "Routing",
    "Share",
    "Standing",
]
