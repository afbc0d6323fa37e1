"""Every field of an export's config, with its type, default and meaning."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from hydra.core.config_store import ConfigStore

from bundle.engine.cores import available_cores
from bundle.errors import RequestError
from optimize.passes.ranges import Ranges

_SMALLEST_SHARE = 1e-4
"""That nothing is lost and no answer changes can be shown by no number of samples."""
LARGEST_BATCH = 4096
"""Every variant that is timed holds the batch in memory."""
_LARGEST_DIFFERENCE = 1.0
"""Of a logit: beyond, another model would pass for the same."""


class Target(StrEnum):
    """The machine that a bundle is made for; `none`: fp32 only, `auto`: this machine."""

    auto = "auto"
    none = "none"
    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"


class Exporter(StrEnum):
    """Which of PyTorch's exporters writes the graph.

    `auto` takes the older `torchscript` for texts, because ONNX Runtime's transformer fusion
    recognises only what it writes, and `dynamo` for everything else.
    """

    auto = "auto"
    torchscript = "torchscript"
    dynamo = "dynamo"


@dataclass
class GoldenConfig:
    """The examples that travel with the bundle and prove it wherever it is loaded."""

    samples: int = 4
    """Raw samples kept, from the held-out data. They are the first batch of the three that the
    manifest counts in `golden.count`."""
    atol: float = 1e-3
    """Largest absolute difference from the golden logits that a server accepts; wide enough for
    another CPU or a GPU's TF32, narrow enough to see a wrong model."""
    rtol: float = 1e-3
    """The same, relative to the logit."""


@dataclass
class GateConfig:
    """What a variant must show before it may answer in the original's place."""

    budget: float = 0.005
    """Largest accepted loss of accuracy, as a share of 1: the one-sided 95 % lower bound on the
    paired change of accuracy must not lie below its negative."""
    agreement: float = 0.98
    """Smallest accepted share of samples that get the original's answer."""
    batch_flips: float = 0.005
    """Largest accepted share of answers that are others in a batch than alone; so many samples must
    be asked that a larger share would show, with 95 % confidence."""


@dataclass
class SamplesConfig:
    """The samples that passes may look at; the gate's are not among them."""

    calibration: int = 512
    """Samples of the train split from which quantization learns ranges."""
    tuning: int = 512
    """Samples of the val split on which a pass chooses among its options."""


@dataclass
class CalibrationConfig:
    """How static quantization learns from the calibration samples."""

    ranges: Ranges = Ranges.minmax
    percentile: float = 99.999
    """For ranges=percentile: so many per cent of an activation's values lie in its range. What is
    left out is half at each end; where ranges are symmetric (S8S8), the values furthest from 0."""


@dataclass
class BenchmarkConfig:
    """How the variants are timed against each other."""

    enabled: bool = True
    """Without it nothing is measured, and the default variant stays fp32."""
    batch_sizes: list[int] = field(default_factory=lambda: [1, 8, 32])
    """Samples a call; each is a table of its own."""
    rounds: int = 7
    """Times that every variant takes its turn; a round gives one ratio."""
    seconds: float = 0.15
    """Time a variant has in one turn at one batch size; at least one call is made."""
    threads: int | None = None
    """Threads of every variant, asserted; null: `optimize.threads`, else the cores there are."""
    anew: bool = False
    """Measure again what was measured before: a busy machine spoils a measurement for good."""
    length: int | None = None
    """Tokens of every text; null: as long as the held-out samples are."""


@dataclass
class SelectConfig:
    """How the default variant is chosen among the certified ones."""

    margin: float = 0.1
    """Variants that are slower than the fastest by less than this share count as equally fast;
    among them the one that agrees most with the original is taken."""


@dataclass
class TensorRTConfig:
    """What plans are built for, where target=tensorrt builds some."""

    max_batch_size: int = 64
    """Largest batch that a plan runs in one piece; texts go up to the model's longest."""
    workspace_mb: int = 4096
    """Most GPU memory that a layer may use while it runs, in MiB."""


@dataclass
class CacheConfig:
    """Finished passes, evaluations and measurements, so that none is done twice."""

    folder: str | None = "outputs/cache/optimize"
    """May be removed at any time; null keeps nothing."""
    max_gb: float = 10.0
    """Gigabytes kept; what was used longest ago goes first, at the end of an export."""


@dataclass
class OptimizeConfig:
    """How a model is exported and what it must show."""

    opset: int = 18
    """ONNX operator set of the graph; what was written must be what was asked for."""
    exporter: Exporter = Exporter.auto
    tolerance: float = 1e-4
    """Largest accepted difference between a logit of the checkpoint and of the exported model."""
    max_samples: int | None = None
    """Held-out samples to evaluate on; null: all of them."""
    batch_size: int = 32
    """Samples in one batch of the evaluation."""
    invariance_samples: int = 600
    """Samples answered alone as well as in a batch, 2 at least, in company of up to 32."""
    threads: int | None = None
    """Threads of torch and of ONNX Runtime on the CPU, no more than this process has cores; null
    leaves the choice to them."""
    recipes: list[str] | None = None
    """Names of the recipes to try; null: all that suit the target and the model."""
    golden: GoldenConfig = field(default_factory=GoldenConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    samples: SamplesConfig = field(default_factory=SamplesConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    select: SelectConfig = field(default_factory=SelectConfig)
    tensorrt: TensorRTConfig = field(default_factory=TensorRTConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)


@dataclass
class TrackingConfig:
    """Where runs and model versions are recorded."""

    uri: str | None = None
    """The MLflow server; null takes MLFLOW_TRACKING_URI, else sqlite:///mlflow.db."""


@dataclass
class ExportConfig:
    """All of an export. Without `checkpoint`, `run` and `version` it takes the latest run."""

    checkpoint: str | None = None
    """A checkpoint file that train.py wrote."""
    run: str | None = None
    """The id of a run whose best checkpoint is taken from MLflow, or `latest`."""
    version: str | None = None
    """A registered version, NAME/NUMBER or NAME@ALIAS, maybe after models:/: the checkpoint that it
    was made of is exported again."""
    target: Target = Target.auto
    output: str | None = None
    """The bundle's folder; null: outputs/bundles/<name>-<8 digits of the checkpoint's sha256>."""
    overwrite: bool = False
    """Replace a bundle that lies there already."""
    name: str | None = None
    """The model's name in the bundle; null: the name of the run."""
    register: bool | str | None = True
    """Register the bundle: true under the model's name, a text under that name, null or false not
    at all."""
    optimize: OptimizeConfig = field(default_factory=OptimizeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


def check(config: ExportConfig) -> None:
    """Raise RequestError for a number that cannot be, naming its field."""
    settings = config.optimize
    golden, gate, bench = settings.golden, settings.gate, settings.benchmark
    cores = available_cores()
    limits: dict[str, tuple[float | None, float, float]] = {
        "opset": (settings.opset, 1, math.inf),
        "max_samples": (settings.max_samples, 1, math.inf),
        "batch_size": (settings.batch_size, 1, math.inf),
        "invariance_samples": (settings.invariance_samples, 2, math.inf),
        "threads": (settings.threads, 1, cores),
        "tolerance": (settings.tolerance, 0, _LARGEST_DIFFERENCE),
        "golden.samples": (golden.samples, 1, math.inf),
        "golden.atol": (golden.atol, 0, _LARGEST_DIFFERENCE),
        "golden.rtol": (golden.rtol, 0, 1),
        "gate.budget": (gate.budget, _SMALLEST_SHARE, 1),
        "gate.agreement": (gate.agreement, 0, 1),
        "gate.batch_flips": (gate.batch_flips, _SMALLEST_SHARE, 1),
        "samples.calibration": (settings.samples.calibration, 1, math.inf),
        "samples.tuning": (settings.samples.tuning, 1, math.inf),
        "calibration.percentile": (settings.calibration.percentile, 90, 100),
        "benchmark.rounds": (bench.rounds, 2, math.inf),
        "benchmark.seconds": (bench.seconds, 0, math.inf),
        "benchmark.threads": (bench.threads, 1, cores),
        "benchmark.length": (bench.length, 1, math.inf),
        "select.margin": (settings.select.margin, 0, 1),
        "tensorrt.max_batch_size": (settings.tensorrt.max_batch_size, 1, math.inf),
        "tensorrt.workspace_mb": (settings.tensorrt.workspace_mb, 1, math.inf),
        "cache.max_gb": (settings.cache.max_gb, 0, math.inf),
    }
    for name, (value, low, high) in limits.items():
        if value is None or (low <= value <= high and math.isfinite(value)):
            continue
        field = f"optimize.{name}"
        wanted = f"{low} or more" if high == math.inf else f"{low} to {high}"
        remedy = "as many as this process has cores" if name.endswith("threads") else None
        raise RequestError(f"{field}={value} must be {wanted}", field=field, remedy=remedy)
    field = "optimize.benchmark.batch_sizes"
    wanted = f"hold one size or more, each 1 to {LARGEST_BATCH}"
    check_sizes(bench.batch_sizes, f"{field}={bench.batch_sizes}", wanted=wanted, field=field)


def check_sizes(sizes: list[int], given: str, *, wanted: str, field: str) -> None:
    """Of batches that are to be timed. Raises RequestError, which says what was `given`."""
    if not all(1 <= size <= LARGEST_BATCH for size in sizes or [0]):
        raise RequestError(f"{given} must {wanted}", field=field)
    if len(set(sizes)) < len(sizes):
        raise RequestError(
            f"{given} names a size more than once", field=field, remedy="name each size once"
        )


def register_schemas() -> None:
    """Make the dataclasses known to Hydra; harmless when called again."""
    store = ConfigStore.instance()
    store.store(name="base_export", node=ExportConfig)
    store.store(group="optimize", name="base_optimize", node=OptimizeConfig)
