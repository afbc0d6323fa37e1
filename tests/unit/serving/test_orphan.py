"""A process that is stopped when its parent dies ends all the same."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from tests.running_server import eventually

CODE = """
import os, signal
from serving.orphan import end_with_parent
child = os.fork()
if not child:
    end_with_parent()
    os.kill(os.getpid(), signal.SIGSTOP)
os.waitpid(child, os.WUNTRACED)
print(child)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can do it")
def test_one_that_stands_still_ends_with_its_parent():
    done = subprocess.run(
        [sys.executable, "-c", CODE], check=True, capture_output=True, text=True, timeout=60
    )
    eventually(lambda: not alive(int(done.stdout)))


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
