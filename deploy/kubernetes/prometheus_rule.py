"""Write the rules of deploy/monitoring as the Prometheus operator takes them.

`python -m deploy.kubernetes.prometheus_rule`: kustomize cannot put a file into a manifest.
"""

from __future__ import annotations

from pathlib import Path

import yaml

_HERE = Path(__file__).parent
RULES = _HERE.parent / "monitoring" / "prometheus" / "rules"
TARGET = _HERE / "components" / "prometheus-operator" / "prometheusrule.yaml"


def manifest() -> str:
    """All groups of all files, in one resource."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(RULES.iterdir())]
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "trainyard-serve"},
        "spec": {"groups": [group for file in files for group in file["groups"]]},
    }
    head = "# Written by python -m deploy.kubernetes.prometheus_rule from deploy/monitoring.\n"
    return head + yaml.dump(resource, Dumper=_Dumper, sort_keys=False, width=1000)


class _Dumper(yaml.SafeDumper):
    """Keeps expressions of several lines as they are."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)

if __name__ == "__main__":
    TARGET.write_text(manifest(), encoding="utf-8")
