"""Every field of an export's config, with its type, default and meaning."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from hydra.core.config_store import ConfigStore

from bundle.errors import RequestError


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
    """Raw samples kept, from the held-out data."""
    atol: float = 1e-3
    """Largest absolute difference from the golden logits that a server accepts; wide enough for
    another CPU or a GPU's TF32, narrow enough to see a wrong model."""
    rtol: float = 1e-3
    """The same, relative to the logit."""


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
    invariance_samples: int = 256
    """Samples answered alone as well as in a batch."""
    threads: int | None = None
    """Threads of torch and of ONNX Runtime on the CPU; null leaves the choice to them."""
    golden: GoldenConfig = field(default_factory=GoldenConfig)


@dataclass
class TrackingConfig:
    """Where runs and model versions are recorded."""

    uri: str | None = None
    """The MLflow server; null takes MLFLOW_TRACKING_URI, else sqlite:///mlflow.db."""


@dataclass
class ExportConfig:
    """All of an export. Without `checkpoint` and `run` it takes the latest run."""

    checkpoint: str | None = None
    """A checkpoint file that train.py wrote."""
    run: str | None = None
    """The id of a run whose best checkpoint is taken from MLflow, or `latest`."""
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
    minima: dict[str, tuple[float | None, float]] = {
        "opset": (settings.opset, 1),
        "max_samples": (settings.max_samples, 1),
        "batch_size": (settings.batch_size, 1),
        "invariance_samples": (settings.invariance_samples, 1),
        "threads": (settings.threads, 1),
        "tolerance": (settings.tolerance, 0),
        "golden.samples": (settings.golden.samples, 1),
        "golden.atol": (settings.golden.atol, 0),
        "golden.rtol": (settings.golden.rtol, 0),
    }
    for name, (value, minimum) in minima.items():
        if value is not None and not minimum <= value < math.inf:
            field = f"optimize.{name}"
            raise RequestError(f"{field}={value} must be {minimum} or more", field=field)


def register_schemas() -> None:
    """Make the dataclasses known to Hydra; harmless when called again."""
    store = ConfigStore.instance()
    store.store(name="base_export", node=ExportConfig)
    store.store(group="optimize", name="base_optimize", node=OptimizeConfig)
