"""The tables of an export: what the gate found, and how fast each form of the model is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optimize.passes.base import FLOAT32

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optimize.findings import Findings
    from optimize.timing import Contest, Timing

Table = tuple[list[str], list[list[str]]]
"""The header and the rows."""
NOTHING = "-"
CHOSEN = "default"
DOUBT = "?"
"""Behind every figure that was measured while others had the machine."""


def gate_table(findings: Findings) -> Table:
    """A row a variant."""
    header = ["variant", "size", "of fp32", "accuracy", "at least", "agreement", "batch", "gate"]
    whole = findings.candidates[0].graph
    rows = []
    for candidate in findings.candidates:
        result, graph = candidate.verdict.result, candidate.graph
        verdict = "certified" if candidate.certified else "refused"
        if candidate.name == findings.choice.name:
            verdict += f", {CHOSEN}"
        rows.append(
            [
                candidate.name,
                NOTHING if graph is None else size(graph.bytes),
                NOTHING if graph is None or whole is None else f"{graph.bytes / whole.bytes:.2f}",
                NOTHING if result.delta is None else f"{100 * result.delta:+.2f} pt",
                NOTHING if result.bound is None else f"{100 * result.bound:+.2f} pt",
                NOTHING if result.agreement is None else f"{result.agreement:.2%}",
                _invariance(result.batch_invariant),
                verdict,
            ]
        )
    return header, rows


def speed_table(findings: Findings) -> Table:
    """A row a form of the model that was timed: at each batch size its median and its speed-up."""
    contest = findings.contest
    if contest is None:
        return [], []
    sizes = list(next(iter(contest.timings.values())))
    header = ["form", *(f"batch {each}, ms" for each in sizes)]
    header += [f"x {contest.baseline}, batch {each}" for each in sizes] + ["samples/s", "best"]
    frontier = findings.frontier
    rows = []
    for name, by_size in contest.timings.items():
        figures = [
            *(milliseconds(by_size[each].p50_ms) for each in sizes),
            *(speedup(by_size[each]) for each in sizes),
            rate(max(by_size.values(), key=lambda timing: timing.samples_per_second)),
            "yes" if name in frontier else "",
        ]
        rows.append([name, *(measured(figure, contest) for figure in figures)])
    return header, rows


def reasons(findings: Findings) -> list[str]:
    """Why what is refused is refused, a line each; what could not be timed or compared."""
    lines = [
        f"{candidate.name}: {candidate.verdict.result.reason}"
        for candidate in findings.candidates
        if not candidate.certified
    ]
    return lines + kept_in_float32(findings) + unmeasured(findings)


def kept_in_float32(findings: Findings) -> list[str]:
    """Which layers a search has spared, a line each variant."""
    return [
        f"{candidate.name}: {len(note['layers'])} of {note['of']} layers stay in float32: "
        + ", ".join(map(_layer, note["layers"]))
        for candidate in findings.candidates
        if candidate.graph is not None
        for step in candidate.graph.steps
        if (note := step.notes.get(FLOAT32))
    ]


def _layer(found: Mapping[str, str | None]) -> str:
    return f"{found['node']} ({found['weight']})" if found["weight"] else f"{found['node']}"


def unmeasured(findings: Findings) -> list[str]:
    """Who has no times, or no ratio, and why; a line each, where others were timed."""
    contest = findings.contest
    if contest is None:
        return []
    never = {
        each.name: "it could not be made" if each.graph is None else "it could not be run"
        for each in findings.candidates
        if each.assessment is None
    }
    return [
        *(
            f"{name} was not timed: {reason}"
            for name, reason in {**never, **contest.failed}.items()
        ),
        *(f"{name} has no ratio: {reason}" for name, reason in contest.apart.items()),
    ]


def circumstances(contest: Contest) -> str:
    """In one sentence: how it was measured, and what else the machine did."""
    return (
        f"Medians of {contest.rounds} interleaved rounds with {contest.threads} threads; other "
        f"processes used {contest.load['others']:.0%} of {contest.load['cores']} cores meanwhile."
    )


def doubt(contest: Contest, *, remedy: str) -> list[str]:
    """What its mark means, where figures bear it."""
    if not contest.busy:
        return []
    told = (
        f"{DOUBT}: measured while other processes used {contest.load['others']:.0%} of the cores; "
        f"neither these figures nor what was chosen by them are to be believed: {remedy}"
    )
    return [told]


def measured(figure: str, contest: Contest) -> str:
    """A cell: the figure, marked where it is not to be believed."""
    marked = contest.busy and figure not in ("", NOTHING)
    return f"{figure}{DOUBT}" if marked else figure


def speedup(timing: Timing) -> str:
    """The ratio, where there is one, and, where it was seen often enough, its 95 % interval."""
    if timing.speedup is None:
        return NOTHING
    if timing.low is None or timing.high is None:
        return _times(timing.speedup)
    return f"{_times(timing.speedup)} ({_times(timing.low)}-{_times(timing.high)})"


def _times(ratio: float) -> str:
    """To two decimals, and a small one to two digits that count."""
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


def rate(timing: Timing) -> str:
    """Samples a second."""
    return f"{timing.samples_per_second:.0f}"


def milliseconds(value: float | None) -> str:
    """To two decimals, and a small one to three digits that count."""
    if value is None:
        return NOTHING
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table's lines; what would end a cell or a line is escaped."""
    lines = [list(header), ["---"] * len(header), *map(list, rows)]
    return [f"| {' | '.join(map(_escaped, line))} |" for line in lines]


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


def _invariance(holds: bool | None) -> str:
    if holds is None:
        return NOTHING
    return "same" if holds else "changes"
