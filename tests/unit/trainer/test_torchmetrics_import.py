"""What a run imports with torchmetrics, and what only metrics of one's own may need."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from trainer.torchmetrics_import import SPARED, VARIABLE

IMPORT = """
import sys
import trainer
import torchmetrics
from torchmetrics.utilities import imports
flags = (imports._SCIPY_AVAILABLE, imports._MATPLOTLIB_AVAILABLE, imports._TRANSFORMERS_AVAILABLE)
print(*({name.partition(".")[0] for name in sys.modules}), *map(bool, flags))
print(bool(imports._TQDM_AVAILABLE), len(sys.meta_path), torchmetrics.MeanMetric()(2.0).item())
"""


@pytest.mark.parametrize("whole", [False, True])
def test_torchmetrics_takes_its_large_packages_along_only_where_it_is_told_to(whole):
    environment = {**os.environ, VARIABLE: "1" if whole else ""}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], capture_output=True, text=True, env=environment, check=True
    )
    modules, *rest = done.stdout.splitlines()
    *names, scipy, matplotlib, transformers = modules.split()
    assert set(names) & SPARED == (SPARED if whole else set())
    assert (scipy, matplotlib, transformers) == (str(whole),) * 3
    assert rest[0].split()[::2] == ["True", "2.0"]
