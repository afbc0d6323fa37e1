"""How fast a run was, in a table."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from trainer.metrics.metric import series
from trainer.report.blocks import Gap, Section, Table
from trainer.report.recorded import PERFORMANCE
from trainer.report.text import number

if TYPE_CHECKING:
    from trainer.report.blocks import Chart
    from trainer.report.recorded import Recorded

_ROWS = (
    ("throughput/samples", "Samples a second", 1.0),
    ("throughput/tokens", "Tokens a second", 1.0),
    ("throughput/tflops", "TFLOP a second", 1.0),
    ("throughput/mfu", "Model FLOP utilisation (%)", 100.0),
    ("time/step", "Step (ms)", 1000.0),
    ("time/step_p95", "Step, 95th percentile (ms)", 1000.0),
    ("time/data_share", "Of it waiting for data (%)", 100.0),
    ("time/epoch", "Epoch (s)", 1.0),
    ("system/cpu_utilization_percentage", "CPU of the machine (%)", 1.0),
    ("system/process_memory_megabytes", "Memory of the process (MB)", 1.0),
    ("system/gpu_0_utilization_percentage", "GPU 0 (%)", 1.0),
    ("system/gpu_0_memory_peak_megabytes", "GPU 0, memory at its peak (MB)", 1.0),
)


def speed_section(run: Recorded, chart: Chart | None) -> Section:
    """Chart and table, or why there are none."""
    rows = []
    for name, label, factor in _ROWS:
        values = [value * factor for value in series(run.performance, name)[1]]
        if values:
            shown = (median(values), min(values), max(values), values[-1])
            rows.append((label, *(number(value) for value in shown)))
    if not rows:
        why = run.missing.get(PERFORMANCE, f"{PERFORMANCE} has none of its metrics")
        text = (
            f"The speed is not known: {why}. It comes with the first recorded step; runs made"
            " before this file was written have none."
        )
        return Section(id="throughput", title="Throughput", blocks=(Gap(text=text),))
    table = Table(
        caption="Over the records of the run; all processes together, unless it says otherwise.",
        head=("Quantity", "Median", "Lowest", "Highest", "Last"),
        rows=tuple(rows),
    )
    blocks = (chart, table) if chart is not None else (table,)
    return Section(id="throughput", title="Throughput", blocks=blocks)
