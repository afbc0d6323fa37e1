"""TextDataModule: texts as padded token ids."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from tokenizers import Tokenizer

from bundle.errors import InputError, ManifestError, RequestError
from bundle.preprocessing.config import TextConfig
from bundle.preprocessing.text import TextPreprocessor
from trainer.data.dataset import BatchDataset, TextDataset, TokenIds, TokenStore
from trainer.data.module import DataModule
from trainer.data.options import require
from trainer.data.tokenizer import (
    SPECIAL_TOKENS,
    TOKENIZER_FILE,
    learn_tokenizer,
    read_tokenizer,
    write_tokenizer,
)
from trainer.errors import DataError

if TYPE_CHECKING:
    from trainer.data.augmentation import TextAugmentation
    from trainer.data.rejects import Rejects
    from trainer.data.samples import Corpus, IntArray, RawSample
    from trainer.data.sources.base import Source
    from trainer.data.splitting import Splits


class TextDataModule(DataModule):
    """Batches are {"input_ids", "attention_mask": int64 (B, L), "label": int64 (B,)}.

    The tokenizer is `tokenizer_file` or, without one, learned from the training split; it is
    written to `assets_dir`. Every text is tokenized once, while setting up.
    """

    task: ClassVar[str] = "text-classification"

    def __init__(
        self,
        source: Source,
        *,
        max_length: int = 256,
        pad_to_multiple_of: int = 1,
        vocab_size: int = 8192,
        min_frequency: int = 2,
        augmentation: TextAugmentation | None = None,
        **options: Any,
    ) -> None:
        super().__init__(source, **options)
        self._max_length = max_length
        self._pad_to_multiple_of = pad_to_multiple_of
        self._vocab_size = vocab_size
        self._min_frequency = min_frequency
        self._augmentation = augmentation
        self._assets: dict[str, bytes] = {}
        self._preprocessor: TextPreprocessor | None = None
        self._store: TokenStore | None = None
        self._tokens: TokenIds | None = None

    @property
    def preprocessor(self) -> TextPreprocessor:
        if self._preprocessor is None:
            raise RuntimeError("setup() has not run")
        return self._preprocessor

    @property
    def assets(self) -> dict[str, bytes]:
        return dict(self._assets)

    def _begin(self, corpus: Corpus) -> None:
        del corpus  # texts are tokenized once the splits are known
        least = len(SPECIAL_TOKENS) + 1
        require(self._vocab_size >= least, "vocab_size", self._vocab_size, f"at least {least}")
        require(self._min_frequency >= 1, "min_frequency", self._min_frequency, "at least 1")
        if self._augmentation is not None:
            self._augmentation.check()

    def _inspect(self, index: int, sample: RawSample) -> None:
        del index
        if not isinstance(sample, str):
            raise InputError(f"is {type(sample).__name__}, not a text")
        if not sample or sample.isspace():
            raise InputError("the text is empty or blank")

    def _finish(self, corpus: Corpus, splits: Splits, rejects: Rejects) -> Splits:
        content = self._tokenizer(corpus, splits)
        self._assets = {TOKENIZER_FILE: content}
        self._preprocessor = self._make_preprocessor(content)
        self._tokens = _token_ids(content)
        rows = [np.empty(0, dtype=np.int64)] * len(corpus)
        unusable = []
        for index in np.concatenate(list(splits.by_name().values())).tolist():
            try:
                rows[index] = self._preprocessor(corpus.raw[index])["input_ids"]
            except InputError as error:
                rejects.add(corpus.names[index], error)
                unusable.append(index)
        self._store = TokenStore(rows)
        return splits.without(unusable)

    def _tokenizer(self, corpus: Corpus, splits: Splits) -> bytes:
        if self._tokenizer_file is not None:
            return read_tokenizer(Path(self._tokenizer_file))
        return learn_tokenizer(
            (str(corpus.raw[index]) for index in splits.train.tolist()),
            vocab_size=self._vocab_size,
            min_frequency=self._min_frequency,
        )

    def _make_preprocessor(self, content: bytes) -> TextPreprocessor:
        if self._assets_dir is not None:
            write_tokenizer(content, assets_dir=Path(self._assets_dir))
        try:
            config = TextConfig(
                max_length=self._max_length,
                tokenizer=TOKENIZER_FILE,
                tokenizer_sha256=sha256(content).hexdigest(),
                pad_to_multiple_of=self._pad_to_multiple_of,
            )
            return TextPreprocessor(config, content)
        except (RequestError, ManifestError) as error:
            raise DataError(f"data.{error}", field=f"data.{error.field}") from error

    def _dataset(self, indices: IntArray, *, training: bool) -> BatchDataset:
        if self._store is None or self._tokens is None:
            raise RuntimeError("setup() has not run")
        return TextDataset(
            indices,
            self.prepared.corpus.labels,
            store=self._store,
            preprocessor=self.preprocessor,
            tokens=self._tokens,
            augmentation=self._augmentation if training else None,
            seed=self._seed,
        )


def _token_ids(content: bytes) -> TokenIds:
    tokenizer = Tokenizer.from_buffer(content)
    special = [id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special]
    ids = (tokenizer.token_to_id(name) for name in ("[MASK]", "<mask>", "[UNK]", "<unk>"))
    mask = next((id_ for id_ in ids if id_ is not None), 0)
    return TokenIds(mask=mask, protected=tuple(sorted(special)))
