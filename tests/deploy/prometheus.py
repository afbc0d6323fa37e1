"""A real Prometheus with the configuration of deploy/monitoring, and what it answers."""

from __future__ import annotations

import json
import math
import re
import shutil
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.deploy.process import free_port, program, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "monitoring" / "prometheus"


class Prometheus:
    """Answers queries."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of the answer of its API."""
        query = urllib.parse.urlencode(
            {name.removesuffix("_"): value for name, value in parameters.items()}
        )
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def values(self, expression: str) -> list[float]:
        """Of every series that the expression has now; those that are no number are left out."""
        result = self.get("query", query=expression)["result"]
        found = [float(series["value"][1]) for series in result]
        return [value for value in found if not math.isnan(value)]

    def label_values(self, metric: str, label: str) -> list[str]:
        """As Grafana asks for them."""
        return list(self.get(f"label/{label}/values", **{"match[]": metric}))


def sides(expression: str) -> list[str]:
    """Every expression that is left when of each `or` one side is taken: where both must have data,
    neither hides the other.
    """
    found = re.search(r"\bor\b", expression)
    if found is None:
        return [expression]
    before, after = expression[: found.start()], expression[found.end() :]
    start = len(before) - _to_parenthesis(before[::-1], opening=")", closing="(")
    end = _to_parenthesis(after, opening="(", closing=")")
    chosen = (before, before[:start] + after[:end])
    return [side for part in chosen for side in sides(part + after[end:])]


def _to_parenthesis(text: str, *, opening: str, closing: str) -> int:
    """Where the parenthesis closes that the text is in; its end if it is in none."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == opening) - (character == closing)
        if depth < 0:
            return position
    return len(text)


@contextmanager
def prometheus(folder: Path, *, targets: Mapping[str, str]) -> Iterator[Prometheus]:
    """With those targets, by the name of their file, and asking every second."""
    binary = program("prometheus", "prometheus")
    shutil.copytree(CONFIGURATION, folder / "etc")
    for name, target in targets.items():
        path = folder / "etc" / "targets" / f"{name}.yml"
        assert path.exists()
        path.write_text(f"- targets: [{target}]\n")
    main = folder / "etc" / "prometheus.yml"
    text, changed = re.subn(r"_interval: 15s", "_interval: 1s", main.read_text())
    assert changed == 2
    main.write_text(text)
    address = f"127.0.0.1:{free_port()}"
    command = [
        binary,
        f"--config.file={main}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with running(command, ready=f"http://{address}/-/ready", folder=folder):
        yield Prometheus(f"http://{address}")
