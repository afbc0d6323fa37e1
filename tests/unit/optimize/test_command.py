from __future__ import annotations

import os
import signal

import pytest

from optimize.command import _stopped_by_sigterm
from trainer.errors import Stopped


def test_sigterm_passes_code_that_takes_every_exception_for_a_failed_attempt():
    before = signal.getsignal(signal.SIGTERM)

    def stubborn():
        for _ in range(3):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except Exception:  # noqa: BLE001 - as PyTorch's exporters do
                continue

    with pytest.raises(Stopped, match="stopped by SIGTERM") as caught, _stopped_by_sigterm():
        stubborn()
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before
