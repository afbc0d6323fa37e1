"""The registry's command: see, promote, split and roll back the versions of a model.

python models.py list
python models.py promote NAME NUMBER
"""

from __future__ import annotations

from bundle.command import run_command
from bundle.models_command import main as manage


def main() -> None:
    run_command(manage)


if __name__ == "__main__":
    main()
