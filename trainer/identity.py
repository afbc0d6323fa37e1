"""What makes a run the one that it is: the fields of its config that its numbers come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_FREE = (
    *("name", "resume", "debug", "tracking.", "strategy."),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.min_nodes"),
    *("trainer.node_rank", "trainer.rendezvous", "trainer.max_restarts", "trainer.restart_backoff"),
    *("trainer.hang_timeout", "trainer.stop_timeout", "trainer.compile", "trainer.out_of_memory"),
    *("trainer.peak_tflops", "trainer.limit_test_batches", "trainer.deterministic"),
    *("trainer.threads", "trainer.progress", "trainer.report"),
    *("callbacks.save_", "callbacks.keep_last", "callbacks.async_save", "callbacks.sharded"),
)
"""Fields, or how they begin, that change neither what a run computes nor what it records."""


def differing_fields(earlier: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Dotted names of what would make other numbers; what `earlier` lacks does not."""
    before = _flat(earlier)
    return sorted(
        name
        for name, value in _flat(config).items()
        if not name.startswith(_FREE) and before.get(name, value) != value
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
