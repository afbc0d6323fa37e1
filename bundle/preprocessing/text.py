"""TextPreprocessor: a text becomes token ids, through a fast tokenizer's file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from tokenizers import Tokenizer

from bundle.errors import InputError, IntegrityError, ManifestError
from bundle.preprocessing.plain_encoder import PlainEncoder
from bundle.preprocessing.preprocessor import Array, DataPreprocessor, Row
from bundle.tensor import DYNAMIC, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenizers import Encoding

    from bundle.preprocessing.config import TextConfig

_PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>")


class TextPreprocessor(DataPreprocessor):
    """The config alone decides truncation and padding; what tokenizer.json says of them is dropped.

    Texts are encoded one by one: `encode_batch` would start a thread pool that no fork survives, as
    does `encode_batch_fast` for a single text.
    """

    sample_field: ClassVar[str] = "text"

    def __init__(self, config: TextConfig, tokenizer_json: bytes) -> None:
        actual = hashlib.sha256(tokenizer_json).hexdigest()
        if actual != config.tokenizer_sha256:
            raise IntegrityError(
                f"{config.tokenizer} has sha256 {actual}, "
                f"the preprocessing config expects {config.tokenizer_sha256}",
                field="tokenizer_sha256",
            )
        self._config = config
        self._tokenizer = _load_tokenizer(config, tokenizer_json)
        self._pad_id = _take_pad_id(self._tokenizer)
        self._tokenizer.enable_truncation(config.max_length)
        self._plain = PlainEncoder.of(self._tokenizer)

    @property
    def config(self) -> TextConfig:
        return self._config

    @property
    def pad_id(self) -> int:
        """The token id that fills the end of a shorter row."""
        return self._pad_id

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, added tokens included."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        shape = (DYNAMIC, DYNAMIC)
        return (
            TensorSpec(name="input_ids", dtype="int64", shape=shape),
            TensorSpec(name="attention_mask", dtype="int64", shape=shape),
        )

    def __call__(self, sample: Any) -> dict[str, Array]:
        """A str → {"input_ids": int64 (L,), "attention_mask": int64 (L,)}, L ≤ max_length."""
        if not isinstance(sample, str):
            raise _error(f"text must be a string, got {type(sample).__name__}")
        if not sample or sample.isspace():
            raise _error("text is empty or blank")
        try:
            sample.encode()
        except UnicodeEncodeError as error:
            raise _error(
                f"text has a lone surrogate at position {error.start}, which is no character"
            ) from error
        encoding = self._encode(sample)
        if all(encoding.special_tokens_mask):
            raise _error("text has nothing that the tokenizer keeps: no token is left of it")
        return {
            "input_ids": np.array(encoding.ids, dtype=np.int64),  # (L,)
            "attention_mask": np.array(encoding.attention_mask, dtype=np.int64),  # (L,)
        }

    def _encode(self, text: str) -> Encoding:
        plain = None if self._plain is None else self._plain.encode(text)
        return self._tokenizer.encode(text) if plain is None else plain

    def check(self, tensors: Mapping[str, Array]) -> None:
        """Token ids are those of the vocabulary: a negative one would be another word's."""
        ids = tensors.get("input_ids")
        if ids is None or not ids.size:
            return
        if ids.min() < 0 or ids.max() >= self.vocabulary_size:
            wrong = ids.min() if ids.min() < 0 else ids.max()
            raise InputError(
                f"inputs.input_ids has {wrong}, which is no token; "
                f"the ids are 0 to {self.vocabulary_size - 1}",
                field="inputs.input_ids",
            )

    def collate(self, rows: Sequence[Row]) -> dict[str, Array]:
        """Pad to the longest row: {"input_ids": (B, L), "attention_mask": (B, L)}."""
        if not rows:
            raise InputError("a batch needs at least one sample, got none", field=self.sample_field)
        longest = max(map(_length, rows))
        multiple = self._config.pad_to_multiple_of
        rounded = -(-longest // multiple) * multiple
        length = max(longest, min(rounded, self._config.max_length))
        if len(rows) == 1 and length == longest:
            row = rows[0]
            return {
                "input_ids": np.array(row["input_ids"], dtype=np.int64, ndmin=2),  # (1, L)
                "attention_mask": np.array(row["attention_mask"], dtype=np.int64, ndmin=2),
            }
        ids = np.full((len(rows), length), self._pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), length), dtype=np.int64)
        for index, row in enumerate(rows):
            size = len(row["input_ids"])
            ids[index, :size] = row["input_ids"]
            mask[index, :size] = row["attention_mask"]
        return {"input_ids": ids, "attention_mask": mask}


def _length(row: Row) -> int:
    """Tokens of the row. Raises InputError where its tensors do not have as many."""
    size = len(row["input_ids"])
    if len(row["attention_mask"]) != size:
        raise InputError(
            f"attention_mask has {len(row['attention_mask'])} tokens, input_ids has {size}",
            field="attention_mask",
        )
    return size


def _error(message: str) -> InputError:
    return InputError(message, field=TextPreprocessor.sample_field)


def _load_tokenizer(config: TextConfig, tokenizer_json: bytes) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_buffer(tokenizer_json)
    except Exception as error:  # the library raises plain Exception
        raise ManifestError(
            f"{config.tokenizer} is not a tokenizer file: {error}", field="tokenizer"
        ) from error
    special = tokenizer.num_special_tokens_to_add(False)
    if config.max_length <= special:
        raise ManifestError(
            f"max_length={config.max_length} leaves no room for text beside "
            f"the tokenizer's {special} special tokens",
            field="max_length",
        )
    return tokenizer


def _take_pad_id(tokenizer: Tokenizer) -> int:
    padding = tokenizer.padding
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if padding is not None:
        return int(padding["pad_id"])
    for token in _PAD_TOKENS:
        pad_id = tokenizer.token_to_id(token)
        if pad_id is not None:
            return int(pad_id)
    return 0
