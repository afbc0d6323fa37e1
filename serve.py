"""Serve verified bundles over HTTP.

    python serve.py --model outputs/bundle
    python serve.py --model models:/mnist@champion --port 8080 --api-processes 2
    python serve.py --print-settings

One line `ready http://HOST:PORT` on stderr says when it can answer. SIGTERM lets it finish what is
in flight. Every flag is also a variable TRAINYARD_<FLAG>; `--help` lists them.
"""

from __future__ import annotations

from typing import NoReturn

from bundle.command import run_command
from serving.command import main as serve


def main() -> NoReturn:
    """Run the command and leave with its exit code."""
    run_command(serve)


if __name__ == "__main__":
    main()
