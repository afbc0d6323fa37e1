"""Equal inputs make equal bytes, in another process too: a cache and a bundle's hash rest on it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from optimize.recipe import IMAGE, TEXT
from optimize.schema import Target
from tests.optimized_graphs import optimized

ROOT = Path(__file__).resolve().parents[4]
TARGETS = (Target.cpu, Target.tensorrt)
SCRIPT = """
from tests.unit.optimize.passes.test_determinism import digests
print("\\n".join(digests()))
"""


def digests() -> list[str]:
    return [
        f"{target} {task} {name} {hashlib.sha256(made.after).hexdigest()}"
        for target in TARGETS
        for task in (TEXT, IMAGE)
        for name, made in optimized(target, task).items()
    ]


@pytest.mark.slow
@pytest.mark.soak
def test_passes_write_the_same_bytes_in_another_process():
    other = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=280,
    )
    assert other.stdout.splitlines() == digests()
