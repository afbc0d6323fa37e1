"""What plain texts are spared of a tokenizer: `python benchmarks/text_encoding.py`.

Texts of 32 tokens, made into arrays by MiniLM's preprocessor: as they are (plain), and with a
line's end behind, for which the tokenizer goes its whole way (other). Medians of alternating
rounds, and their ratio. Encoding starts no threads.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

# This file's own folder would offer its serving.py as the package `serving`.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.servers.models import PACKAGE
from benchmarks.servers.texts import text_preprocessor, texts
from benchmarks.ways import compare
from trainer.models.pretrained import tokenizer_bytes

ROUNDS = 200
TOKENS = 32
TEXTS = 64


def main() -> None:
    """Print a line for each kind of texts."""
    preprocessor = text_preprocessor(tokenizer_bytes(PACKAGE))
    plain = texts([TOKENS] * TEXTS)
    others = [f"{text}\n" for text in plain]

    def encode(samples: list[str]) -> None:
        for text in samples:
            preprocessor(text)

    print(f"{TEXTS} texts of {TOKENS} tokens, {ROUNDS} rounds")
    ways = {"other": partial(encode, others), "plain": partial(encode, plain)}
    compare(ways, rounds=ROUNDS, base="other")


if __name__ == "__main__":
    main()
