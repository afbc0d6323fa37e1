"""Where and with what a run was made, for its records and its checkpoints."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = (
    "torch",
    "pytorch-lightning",
    "torchmetrics",
    "hydra-core",
    "omegaconf",
    "transformers",
    "tokenizers",
    "numpy",
    "pillow",
    "mlflow",
)
_ROOT = Path(__file__).resolve().parent.parent


def versions() -> dict[str, str]:
    """Python and the packages that decide what training computes."""
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for package in PACKAGES:
        try:
            found.setdefault(package, version(package))
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The commit of the code, with `-dirty` if tracked files differ; None outside a repository."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return None
    return f"{commit}-dirty" if _git("status", "--porcelain", "--untracked-files=no") else commit


def host() -> dict[str, str]:
    """The machine: name, system, processors, threads, devices."""
    found = {
        "hostname": socket.gethostname(),
        "system": platform.platform(),
        "cpu_count": str(os.cpu_count()),
        "torch_threads": str(torch.get_num_threads()),
        "gpu_count": str(torch.cuda.device_count()),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name(0)
    return found


def _git(*arguments: str) -> str:
    """The answer, or "" if git is absent, slow, or this is no repository."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(_ROOT), *arguments],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
