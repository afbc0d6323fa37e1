"""Every field of a training config, with its type, default and meaning.

The YAML files in `conf/` build on these dataclasses, so a misspelt field or a value of the wrong
type is refused before anything starts. The fields of data and models are in their own rooms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import II, MISSING

from trainer.data.schema import DATA_SCHEMAS
from trainer.models.schema import MODEL_SCHEMAS


class Accelerator(StrEnum):
    """Where to compute; `auto` takes a GPU if there is one."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


class StrategyName(StrEnum):
    """How the work is spread over devices."""

    auto = "auto"
    single = "single"
    ddp = "ddp"
    fsdp = "fsdp"


class PrecisionName(StrEnum):
    """The number format of the computation; weights stay in float32."""

    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


class Schedule(StrEnum):
    """How the learning rate falls after its warm-up."""

    cosine = "cosine"
    linear = "linear"
    constant = "constant"


class Direction(StrEnum):
    """Whether a larger or a smaller value of the monitored metric is better."""

    max = "max"
    min = "min"


class Progress(StrEnum):
    """`auto`: a bar on a terminal, else a line an epoch."""

    auto = "auto"
    bar = "bar"
    lines = "lines"
    none = "none"


class OutOfMemory(StrEnum):
    """What a batch that does not fit into memory does: come again in pieces, or end the run."""

    retry = "retry"
    fail = "fail"


class Backend(StrEnum):
    """Where a run is recorded."""

    mlflow = "mlflow"
    none = "none"


class WhenAway(StrEnum):
    """What a run does while the tracking server does not answer: go on and keep its records in
    the run folder, or fail.
    """

    spool = "spool"
    fail = "fail"


@dataclass
class StrategyConfig:
    """How the work is spread over devices."""

    name: StrategyName = StrategyName.auto
    find_unused_parameters: bool = False
    """DDP only: look for parameters without a gradient in every step (slower)."""


@dataclass
class PrecisionConfig:
    """The number format of the computation."""

    name: PrecisionName = PrecisionName.fp32


@dataclass
class TrainerConfig:
    """How long, on what, and how often to look."""

    accelerator: Accelerator = Accelerator.auto
    devices: int | str = "auto"
    """How many devices on each node; `auto` is one."""
    num_nodes: int = 1
    """Machines; the same command runs on each, with its own `node_rank`."""
    min_nodes: int | None = None
    """Go on with as few as this when machines are lost; null: all are needed."""
    node_rank: int | None = None
    """This machine's number, from 0; null takes SLURM_NODEID."""
    rendezvous: str | None = None
    """HOST:PORT where the machines meet, HOST being the one with `node_rank` 0."""
    max_restarts: int = 3
    """How often all processes start again, from the last checkpoint, after one was lost."""
    restart_backoff: float = 1.0
    """Seconds before the first restart; twice as long before each further one, at most 60."""
    hang_timeout: float | None = 600.0
    """Seconds without a finished batch after which processes count as lost; null waits forever.
    Only where there are several processes."""
    stop_timeout: float = 60.0
    """Seconds that several processes have to save and end after SIGTERM or Ctrl-C."""
    sync_batchnorm: bool = True
    """Normalise over the batch of all processes together, as one process would."""
    compile: bool = False
    """Compile the model with torch.compile: slower to start, faster to run; needs a compiler."""
    max_epochs: int = 15
    """Passes over the training data; -1 leaves the end to `max_steps`."""
    max_steps: int = -1
    """Optimiser steps; -1 leaves the end to `max_epochs`."""
    gradient_clip: float | None = 1.0
    """Largest norm of the gradient; null does not clip."""
    out_of_memory: OutOfMemory = OutOfMemory.retry
    """`retry` computes a batch that does not fit in micro-batches, of half the size until they do,
    in all processes alike. `fail` ends the run; several processes then send their gradients while
    they still compute. Not with strategy=fsdp, which always fails."""
    accumulate: int = 1
    """Batches whose gradients are added up before a step."""
    log_every: int = 10
    """Steps between two records of the training metrics."""
    peak_tflops: float | None = None
    """What a device can compute in this precision, in 10^12 operations a second, to measure the
    model FLOPs utilisation against; null takes the data sheet of known GPUs."""
    val_every: float = 1.0
    """Validate this often, in epochs: 0.5 is twice an epoch, 2 every other epoch."""
    limit_train_batches: int | float = 1.0
    """A number of batches (int) or a share of them (float)."""
    limit_val_batches: int | float = 1.0
    limit_test_batches: int | float = 1.0
    overfit_batches: int | float = 0.0
    """Train on this many batches again and again, to see that the model can learn at all."""
    deterministic: bool = False
    """Refuse operations that have no deterministic form; slower on GPUs."""
    threads: int | None = None
    """Threads of torch on the CPU; null leaves torch's choice."""
    progress: Progress = Progress.auto
    report: bool = True
    """Leave pictures and `report.html` when the run ends, which takes seconds;
    `python -m trainer.report` makes the page later."""


@dataclass
class LossConfig:
    """Cross entropy; class weights come with `data.balance=weights`."""

    label_smoothing: float = 0.0
    """Share of the probability spread over all classes, 0…1."""


@dataclass
class OptimConfig:
    """What every optimiser has; its other fields go to its constructor."""

    _target_: str = MISSING
    lr: float = II("model.lr")
    """Learning rate at the end of the warm-up."""
    weight_decay: float = 0.0
    """Applies to matrices and kernels, never to norms and biases."""
    schedule: Schedule = Schedule.cosine
    warmup: float = 0.05
    """Share of all steps in which the rate rises from 0."""
    floor: float = 0.0
    """The rate at the end, as a share of `lr`."""


@dataclass
class AdamWConfig(OptimConfig):
    """AdamW (https://arxiv.org/abs/1711.05101)."""

    _target_: str = "torch.optim.AdamW"
    weight_decay: float = 0.01
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8


@dataclass
class SGDConfig(OptimConfig):
    """Stochastic gradient descent with momentum."""

    _target_: str = "torch.optim.SGD"
    lr: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    nesterov: bool = True


@dataclass
class CallbacksConfig:
    """What happens around the steps."""

    monitor: str = "val/accuracy"
    """The metric that tells the best checkpoint."""
    mode: Direction = Direction.max
    save_best: bool = True
    save_last: bool = True
    keep_last: int = 2
    """How many of the latest checkpoints stay on disk: if the newest is damaged, the run goes on
    from the one before."""
    save_every_steps: int | None = None
    """Also save between epochs, after this many optimiser steps."""
    async_save: bool = False
    """Write checkpoints in the background: a step waits for a copy of the state, not the disk."""
    sharded: bool = False
    """Checkpoints are folders that all processes write together (torch.distributed.checkpoint)."""
    patience: int | None = None
    """Stop after this many validations without a better `monitor`; null never stops early."""
    min_delta: float = 0.0
    """A smaller change than this is not better (early stopping only)."""
    ema_decay: float | None = None
    """Keep an exponential moving average of the weights, which is what is validated, saved and
    exported: 0.999 averages over about 1,000 steps. Null keeps none."""


@dataclass
class TrackingConfig:
    """Where a run's parameters, metrics and files are recorded."""

    backend: Backend = Backend.none
    uri: str | None = None
    """The MLflow server; null takes MLFLOW_TRACKING_URI, else sqlite:///mlflow.db."""
    experiment: str = "trainyard"
    tags: dict[str, str] = field(default_factory=dict)
    log_checkpoint: bool = True
    """Also store the best checkpoint with the run."""
    when_away: WhenAway = WhenAway.spool
    """`spool`: while the server does not answer, train on, and keep the records in the run folder
    until it does. `fail`: end the run."""
    start_timeout: float = 30.0
    """Longest wait for the server's first answer, in seconds."""
    flush_timeout: float = 300.0
    """Longest wait at the end of a run for what the server has not taken yet, in seconds; while
    it does not answer at all, a run does not wait for it."""


@dataclass
class TrainConfig:
    """All of a training run."""

    name: str | None = None
    """The run's name, and the name of its model in the registry; null: `<data>-<model>`."""
    seed: int = 0
    """Fixes the split, the initial weights, the order, augmentation and dropout."""
    resume: str = "auto"
    """`auto`: go on from the newest whole checkpoint of the run's folder (`hydra.run.dir`), or
    start if it has none. `never`: start, and set those it has aside. Else the checkpoint to go on
    from: a path, or a URL with `#sha256=…`."""
    data: Any = MISSING
    model: Any = MISSING
    optim: Any = MISSING
    loss: LossConfig = field(default_factory=LossConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    sweep: Any = None
    """A study of many runs; see `trainer/sweep/schema.py`. A single run has none."""


SCHEMAS: dict[str, dict[str, Any]] = {
    "callbacks": {"base_callbacks": CallbacksConfig},
    "data": dict(DATA_SCHEMAS),
    "model": dict(MODEL_SCHEMAS),
    "optim": {"base_adamw": AdamWConfig, "base_sgd": SGDConfig},
    "precision": {"base_precision": PrecisionConfig},
    "strategy": {"base_strategy": StrategyConfig},
    "tracking": {"base_tracking": TrackingConfig},
    "trainer": {"base_trainer": TrainerConfig},
}
"""Group → name → dataclass: what the YAML files in `conf/` start from."""


def register_schemas() -> None:
    """Make the dataclasses known to Hydra; harmless when called again."""
    store = ConfigStore.instance()
    store.store(name="base_train", node=TrainConfig)
    for group, nodes in SCHEMAS.items():
        for name, node in nodes.items():
            store.store(group=group, name=name, node=node)
