"""What plain texts are spared of a tokenizer: `python benchmarks/text_encoding.py`.

Texts of 32 tokens, made into arrays by MiniLM's preprocessor: as they are (plain), and with a
line's end behind, for which the tokenizer goes its whole way (other). Medians of alternating
rounds, and their ratio. Encoding starts no threads.
"""

from __future__ import annotations

import hashlib
import statistics
import sys
import time
from pathlib import Path

# This file's own folder would offer its serving.py as the package `serving`.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.servers.models import PACKAGE
from benchmarks.servers.texts import LONGEST, texts
from bundle.preprocessing.config import TextConfig
from bundle.preprocessing.text import TextPreprocessor
from trainer.models.pretrained import tokenizer_bytes

ROUNDS = 200
TOKENS = 32
TEXTS = 64


def main() -> None:
    """Print a line for each kind of texts."""
    content = tokenizer_bytes(PACKAGE)
    digest = hashlib.sha256(content).hexdigest()
    preprocessor = TextPreprocessor(
        TextConfig(max_length=LONGEST, tokenizer_sha256=digest), content
    )
    plain = texts([TOKENS] * TEXTS)
    kinds = {"other": [f"{text}\n" for text in plain], "plain": plain}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(ROUNDS):
        for name in sorted(kinds, reverse=number % 2 == 1):
            began = time.perf_counter()
            for text in kinds[name]:
                preprocessor(text)
            seconds[name].append((time.perf_counter() - began) / TEXTS)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"texts of {TOKENS} tokens, {ROUNDS} rounds")
    for name, median in medians.items():
        print(f"{name:6} {median * 1e6:6.1f} us  {median / medians['other']:5.2f} of other")


if __name__ == "__main__":
    main()
