"""What an export prints at its end: facts, the gate's table, the table of speeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundle.table import format_table
from optimize import tables
from optimize.proof import REFERENCE
from optimize.tables import size
from optimize.timing import ANEW

if TYPE_CHECKING:
    from optimize.optimizer import Outcome


def report(outcome: Outcome) -> str:
    """Without a final newline."""
    return "\n".join([_facts(outcome), *_variants(outcome)])


def _facts(outcome: Outcome) -> str:
    """Two aligned columns."""
    manifest, findings = outcome.bundle.manifest, outcome.findings
    proof = findings.proof
    evaluation, parity, invariance = proof.evaluation, proof.parity, proof.invariance
    rows = {"model": f"{manifest.name} ({manifest.task}, {len(manifest.labels)} labels)"}
    if outcome.version is not None:
        version = outcome.version
        aliases = ", ".join(version.aliases) or "no alias"
        rows["version"] = f"{version.name}/{version.number} ({aliases})"
    if findings.target.fell_back or findings.target.elsewhere:
        rows["target"] = findings.target.describe()
    rows |= {
        "checkpoint": size(findings.checkpoint_bytes),
        **{name: size(entry.bytes) for name, entry in sorted(manifest.files.items())},
        "parity": f"max |Δlogit| {parity.max_abs_diff:.1e} over {parity.rows} rows, "
        f"{parity.shapes} shapes (allowed {parity.tolerance:g})",
        "accuracy": f"torch {evaluation.accuracy(REFERENCE):.2%}, {proof.variant} "
        f"{evaluation.accuracy(proof.variant):.2%} of {len(evaluation.labels)} samples",
        "agreement": f"{evaluation.agreement(REFERENCE, proof.variant):.2%}",
        "alone or batched": f"{invariance.flips} of {invariance.samples} answers change, "
        f"max |Δlogit| {invariance.max_abs_diff:.1e}",
        "default variant": f"{findings.choice.name}: {findings.choice.reason}",
    }
    if outcome.cache_folder is not None:
        rows["cache"] = f"{size(outcome.cache_bytes)} in {outcome.cache_folder}"
    if outcome.report is not None:
        rows["report"] = str(outcome.report)
    width = max(map(len, rows))
    return "\n".join(f"  {key:<{width}}  {value}" for key, value in rows.items())


def _variants(outcome: Outcome) -> list[str]:
    findings = outcome.findings
    if len(findings.candidates) == 1 and findings.contest is None:
        return []
    lines = ["", format_table(*tables.gate_table(findings))]
    if findings.contest is not None:
        lines += ["", format_table(*tables.speed_table(findings))]
        lines += tables.doubt(findings.contest, remedy=ANEW)
    why = tables.reasons(findings)
    return [*lines, *([""] if why else []), *why, ""]
