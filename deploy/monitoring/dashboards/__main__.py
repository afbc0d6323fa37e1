"""Write the dashboards: `python -m deploy.monitoring.dashboards`.

Grafana reads the files; people read the code beside this one.
"""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.monitoring.dashboards.comparison import comparison
from deploy.monitoring.dashboards.gpu import gpu
from deploy.monitoring.dashboards.service import service
from deploy.monitoring.dashboards.training import training

FOLDER = Path(__file__).parent.parent / "grafana" / "dashboards"


def dashboards() -> dict[Path, str]:
    """The content of every file."""
    return {
        FOLDER / f"{make.__name__}.json": json.dumps(
            make(), cls=JSONEncoder, indent=1, sort_keys=True
        )
        + "\n"
        for make in (service, comparison, training, gpu)
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in dashboards().items():
        path.write_text(text, encoding="utf-8")
