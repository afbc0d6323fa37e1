"""Page: the report of an export beside its bundle, as Markdown, as JSON and as a picture."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bundle.atomic_file import staged, write_json
from bundle.errors import BundleError
from optimize import tables
from optimize.pictures import draw_frontier
from optimize.timing import ANEW, ROUNDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bundle.manifest import Manifest
    from optimize.findings import Findings
    from optimize.timing import Contest
    from optimize.variants import Candidate

PAGE = "report.md"
DATA = "report.json"
PICTURE = "frontier.png"


def write_report(folder: Path, manifest: Manifest, findings: Findings) -> list[Path]:
    """The files that lie in `folder` then. What was measured is here and not in the bundle, whose
    bytes depend on nothing that varies from run to run. Raises BundleError if the disk fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        picture = draw_frontier(findings, folder / PICTURE, title=manifest.name)
        if picture is None:  # an earlier report's would tell of other times
            (folder / PICTURE).unlink(missing_ok=True)
        page = folder / PAGE
        with staged(page) as temporary:
            temporary.write_text(_page(manifest, findings, picture=picture), encoding="utf-8")
            temporary.replace(page)
        write_json(folder / DATA, _data(manifest, findings))
    except OSError as error:
        raise BundleError(f"{folder} cannot be written: {error.strerror or error}") from error
    return [page, folder / DATA, *([picture] if picture is not None else [])]


def _page(manifest: Manifest, findings: Findings, *, picture: Path | None) -> str:
    proof = findings.proof
    lines = [
        f"# {manifest.name}: what was exported, and on what evidence",
        "",
        (
            f"Target {findings.target.describe()}. "
            f"Default variant: **{findings.choice.name}**, {findings.choice.reason}."
        ),
        "",
        (
            f"Judged on {len(proof.evaluation.labels)} samples of the {findings.split} split, "
            f"of which the checkpoint gets {proof.evaluation.accuracy('torch'):.2%} right."
        ),
        "",
        (
            f"The checkpoint has {tables.size(findings.checkpoint_bytes)}, optimiser and all; "
            f"the bundle {tables.size(sum(entry.bytes for entry in manifest.files.values()))}."
        ),
        "",
        "## Gate",
        "",
        *tables.markdown(*tables.gate_table(findings)),
        "",
    ]
    for candidate in findings.candidates:
        lines += [f"- **{candidate.name}**: {candidate.verdict.result.reason}"]
    lines += [f"- {line}" for line in tables.kept_in_float32(findings)]
    if findings.contest is not None:
        lines += ["", "## Speed", "", *_speed(findings)]
    if picture is not None:
        lines += ["", f"![latency against agreement]({picture.name})"]
    return "\n".join([*lines, ""])


def _speed(findings: Findings) -> list[str]:
    contest, occasion = findings.contest, findings.occasion or {}
    if contest is None:
        return []
    lines = [
        *tables.markdown(*tables.speed_table(findings)),
        "",
        *(f"**{line}.**\n" for line in tables.doubt(contest, remedy=ANEW)),
        (
            f"{tables.circumstances(contest)} In brackets is the bootstrap's 95 % interval of the "
            f"ratio, from {ROUNDS} rounds on. Samples/s is over all of the time, slow calls "
            "included, and no inverse of the median. Measured "
            f"{occasion.get('measured', 'at an unknown time')} on "
            f"{_machine(occasion.get('machine', {}))}."
        ),
        "",
        *tables.markdown(*_tails(contest)),
    ]
    left_out = [f"- {line}" for line in tables.unmeasured(findings)]
    return [*lines, *([""] if left_out else []), *left_out]


def _machine(found: Mapping[str, str]) -> str:
    """The GPU, if there is one, and the processor."""
    named = [found[each] for each in ("gpu", "cpu") if each in found]
    return ", ".join(named) or "an unknown processor"


def _tails(contest: Contest) -> tables.Table:
    rows = []
    for name, by_size in contest.timings.items():
        for size, timing in by_size.items():
            figures = (
                tables.milliseconds(timing.p50_ms),
                tables.milliseconds(timing.p99_ms),
                tables.rate(timing),
            )
            cells = (tables.measured(figure, contest) for figure in figures)
            rows.append([name, str(size), *cells])
    return ["form", "batch", "p50, ms", "p99, ms", "samples/s"], rows


def _data(manifest: Manifest, findings: Findings) -> dict[str, Any]:
    contest = findings.contest
    timed = () if contest is None else contest.timings
    return {
        "name": manifest.name,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "target": findings.target.to_dict(),
        "choice": asdict(findings.choice),
        "split": findings.split,
        "checkpoint_bytes": findings.checkpoint_bytes,
        "frontier": sorted(findings.frontier),
        "variants": [
            {**_variant(candidate), "timed": candidate.name in timed}
            for candidate in findings.candidates
        ],
        "baselines": [asdict(each) for each in findings.baselines],
        "benchmark": None if contest is None else {**contest.to_dict(), "busy": contest.busy},
        "occasion": findings.occasion,
    }


def _variant(candidate: Candidate) -> dict[str, Any]:
    graph, assessment = candidate.graph, candidate.assessment
    return {
        "name": candidate.name,
        "format": candidate.format,
        "precision": candidate.precision,
        "certified": candidate.certified,
        "gate": asdict(candidate.verdict.result),
        "checks": [asdict(check) for check in candidate.verdict.checks],
        "bytes": None if graph is None else graph.bytes,
        "steps": [] if graph is None else [asdict(step) for step in graph.steps],
        "sources": [] if graph is None else [asdict(source) for source in graph.sources],
        "assessed_before": None if assessment is None else assessment.found,
    }
