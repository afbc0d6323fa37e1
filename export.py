"""From a checkpoint to a verified, registered bundle; its path is the last line on stdout.

    python export.py [run=latest | run=ID | checkpoint=PATH | version=NAME/NUMBER]
                     [target=none] [output=DIR] [field=value …]

`python export.py --help` lists every field; conf/export.yaml holds what is not given.
"""

from __future__ import annotations

from typing import NoReturn

from bundle.command import run_command
from optimize.command import export
from optimize.schema import register_schemas
from trainer.compose import hydra_command


def main() -> NoReturn:
    """Compose the config, export, and leave with the exit code."""
    run_command(hydra_command("export", export, schemas=register_schemas))


if __name__ == "__main__":
    main()
