"""The short table at the end of an export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optimize.proof import REFERENCE

if TYPE_CHECKING:
    from optimize.optimizer import Outcome


def report(outcome: Outcome) -> str:
    """Two aligned columns, without a final newline."""
    manifest, proof = outcome.bundle.manifest, outcome.proof
    evaluation, parity, invariance = proof.evaluation, proof.parity, proof.invariance
    rows = {"model": f"{manifest.name} ({manifest.task}, {len(manifest.labels)} labels)"}
    if outcome.version is not None:
        version = outcome.version
        aliases = ", ".join(version.aliases) or "no alias"
        rows["version"] = f"{version.name}/{version.number} ({aliases})"
    rows |= {
        "checkpoint": _size(outcome.checkpoint_bytes),
        **{name: _size(entry.bytes) for name, entry in sorted(manifest.files.items())},
        "parity": f"max |Δlogit| {parity.max_abs_diff:.1e} over {parity.rows} rows, "
        f"{parity.shapes} shapes (allowed {parity.tolerance:g})",
        "accuracy": f"torch {evaluation.accuracy(REFERENCE):.2%}, {proof.variant} "
        f"{evaluation.accuracy(proof.variant):.2%} of {len(evaluation.labels)} samples",
        "agreement": f"{evaluation.agreement(REFERENCE, proof.variant):.2%}",
        "alone or batched": f"{invariance.flips} of {invariance.samples} answers change, "
        f"max |Δlogit| {invariance.max_abs_diff:.1e}",
    }
    width = max(map(len, rows))
    return "\n".join(f"  {key:<{width}}  {value}" for key, value in rows.items())


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
