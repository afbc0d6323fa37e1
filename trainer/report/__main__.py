"""One HTML page about a run; its path is the last line on stdout.

python -m trainer.report RUN [--output FILE]
"""

from __future__ import annotations

from bundle.command import run_command
from trainer.report.command import main

if __name__ == "__main__":
    run_command(main)
