"""The tokenizer of a run: learned from its training texts, or a file that is given."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

TOKENIZER_FILE = "tokenizer.json"
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""In the order of their ids, from 0."""
_CONTINUES = "##"
_MOST_SYMBOLS = 2000  # characters that occur at all, at the start of a word or inside
_PRIVATE_PLANE = 0xF0000


def learn_tokenizer(texts: Iterable[str], *, vocab_size: int, min_frequency: int) -> bytes:
    """A lower-casing BERT tokenizer as the bytes of tokenizer.json; equal texts give equal bytes.

    `vocab_size` bounds the entries in tokens, the five special ones included.
    """
    pieces = _learn_pieces(
        _count_words(texts), size=vocab_size - len(SPECIAL_TOKENS), min_frequency=min_frequency
    )
    vocabulary = {token: id_ for id_, token in enumerate((*SPECIAL_TOKENS, *pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - no secret
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    content: str = tokenizer.to_str(pretty=True)
    return content.encode()


def _count_words(texts: Iterable[str]) -> Counter[str]:
    normalizer = normalizers.BertNormalizer(lowercase=True)
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        words = pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text))
        counts.update(word for word, _ in words)
    return counts


def _learn_pieces(words: Counter[str], *, size: int, min_frequency: int) -> list[str]:
    """At most `size` word pieces, by the merges of byte-pair encoding.

    `WordPieceTrainer` learns the same, but numbers the pieces that continue a word in the order of
    a randomly seeded hash map and breaks ties by these numbers: every run gets another vocabulary.
    Here every piece is written as one character of a private plane, which `BpeTrainer` sorts.
    """
    symbols: Counter[str] = Counter()
    for word, count in words.items():
        for symbol in _symbols(word):
            symbols[symbol] += count
    common = sorted(symbols, key=lambda symbol: (-symbols[symbol], symbol))
    kept = sorted(common[: min(size, _MOST_SYMBOLS)])
    code = {symbol: chr(_PRIVATE_PLANE + rank) for rank, symbol in enumerate(kept)}
    name = {character: symbol for symbol, character in code.items()}
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=min_frequency, show_progress=False, special_tokens=[]
    )
    coded = (
        ("".join(code.get(symbol, "") for symbol in _symbols(word)) + " ") * count
        for word, count in sorted(words.items())
    )
    model.train_from_iterator(coded, trainer)
    learned = sorted(model.get_vocab().items(), key=lambda item: item[1])
    pieces = []
    for token, _ in learned:
        first, *rest = (name[character] for character in token)
        pieces.append(first + "".join(symbol.removeprefix(_CONTINUES) for symbol in rest))
    return pieces


def _symbols(word: str) -> list[str]:
    """What a word is built from: "cat" is c, ##a, ##t."""
    return [word[0], *(_CONTINUES + character for character in word[1:])]


def read_tokenizer(path: Path) -> bytes:
    """The content of a tokenizer.json. Raises DataError if it is not one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"the tokenizer {path} cannot be read: {error.strerror or error}",
            field="model.pretrained",
            remedy="give a tokenizer.json of the `tokenizers` library",
        ) from error
    try:
        Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises plain Exception
        raise DataError(
            f"{path} is not a tokenizer file: {error}",
            field="model.pretrained",
            remedy="give a tokenizer.json of the `tokenizers` library",
        ) from error
    return content


def write_tokenizer(content: bytes, *, assets_dir: Path) -> None:
    """Put tokenizer.json into `assets_dir`, whole or not at all."""
    assets_dir.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=assets_dir, prefix=f".{TOKENIZER_FILE}.")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(temporary).replace(assets_dir / TOKENIZER_FILE)
