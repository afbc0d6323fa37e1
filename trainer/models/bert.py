"""A transformer encoder with a linear classifier (https://arxiv.org/abs/1810.04805)."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig
from transformers import BertConfig as EncoderConfig
from transformers.utils import logging as transformers_logging

from trainer.errors import ConfigError
from trainer.models.pretrained import locate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class Bert(nn.Module):
    """Encoder, pooling, dropout, linear layer."""

    def __init__(
        self,
        *,
        num_classes: int,
        vocabulary_size: int,
        pad_id: int,
        max_length: int,
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        feed_forward: int = 3072,
        max_positions: int = 512,
        dropout: float = 0.1,
        pooling: str = "mean",
        attention: str = "sdpa",
        pretrained: str | None = None,
        encoder: Mapping[str, Any] | None = None,
    ) -> None:
        """`encoder`: a whole transformers config, which takes the place of the sizes."""
        super().__init__()
        if pretrained is not None:
            self.encoder = _load_encoder(locate(pretrained), dropout=dropout, attention=attention)
        elif encoder is not None:
            config = AutoConfig.for_model(**encoder)
            self.encoder = _new_encoder(config, attention=attention)
        else:
            if width % heads:
                raise ConfigError(
                    f"model.width={width} is not a multiple of model.heads={heads}",
                    field="model.width",
                )
            config = EncoderConfig(
                vocab_size=vocabulary_size,
                hidden_size=width,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                intermediate_size=feed_forward,
                max_position_embeddings=max_positions,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
                pad_token_id=pad_id,
            )
            self.encoder = _new_encoder(config, attention=attention)
        _check_fit(self.encoder.config, vocabulary_size=vocabulary_size, max_length=max_length)
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.encoder.config.hidden_size, num_classes)
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)
        self.architecture: dict[str, Any] = {
            "num_classes": num_classes,
            "vocabulary_size": vocabulary_size,
            "pad_id": pad_id,
            "max_length": max_length,
            "dropout": dropout,
            "pooling": pooling,
            "attention": attention,
            "encoder": json.loads(self.encoder.config.to_json_string(use_diff=False)),
        }

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Two int64 (batch, length) → logits (batch, num_classes)."""
        tokens = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state  # (batch, length, width)
        if self.pooling == "first":
            pooled = tokens[:, 0]  # (batch, width)
        else:
            mask = attention_mask.unsqueeze(-1).to(tokens.dtype)  # (batch, length, 1)
            pooled = (tokens * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)  # (batch, width)
        logits: Tensor = self.classifier(self.dropout(pooled))  # (batch, num_classes)
        return logits


def _new_encoder(config: PretrainedConfig, *, attention: str) -> Any:
    options = {"add_pooling_layer": False} if _has_pooler(config) else {}
    return AutoModel.from_config(config, attn_implementation=attention, **options)


def _load_encoder(folder: Path, *, dropout: float, attention: str) -> Any:
    """Encoder weights of `folder`; raises ConfigError if some are missing from it."""
    try:
        config = AutoConfig.from_pretrained(folder)
        options = {"add_pooling_layer": False} if _has_pooler(config) else {}
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
        with _quiet():
            encoder, report = AutoModel.from_pretrained(
                folder,
                config=config,
                attn_implementation=attention,
                output_loading_info=True,
                **options,
            )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"model.pretrained={folder}: cannot be loaded ({reason})", field="model.pretrained"
        ) from error
    if report["missing_keys"] or report["mismatched_keys"]:
        names = sorted(str(name) for name in [*report["missing_keys"], *report["mismatched_keys"]])
        raise ConfigError(
            f"model.pretrained={folder}: {len(names)} weights are missing or of another shape,"
            f" the first is {names[0]}",
            field="model.pretrained",
        )
    return encoder


def _has_pooler(config: PretrainedConfig) -> bool:
    """BERT and its descendants build a pooler that we do not use, unless told not to."""
    return config.model_type in {"bert", "roberta", "xlm-roberta", "camembert"}


def _check_fit(config: PretrainedConfig, *, vocabulary_size: int, max_length: int) -> None:
    if vocabulary_size > config.vocab_size:
        raise ConfigError(
            f"the tokenizer has {vocabulary_size} tokens, the model only {config.vocab_size}",
            field="model.pretrained",
            remedy="use the tokenizer that belongs to the model",
        )
    positions = getattr(config, "max_position_embeddings", max_length)
    if max_length > positions:
        raise ConfigError(
            f"data.max_length={max_length}: the model has only {positions} positions",
            field="data.max_length",
            remedy=f"use data.max_length={positions} or less",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bar and the table of unused weights (the pooler's); what is missing is
    an error of ours, and warnings of Python are shown as ever.
    """
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.enable_progress_bar()
        transformers_logging.set_verbosity(verbosity)
