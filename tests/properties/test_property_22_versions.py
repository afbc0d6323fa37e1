"""Property 22: version numbers are unique, also when many register at once."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bundle.registry import ModelRegistry, Routing
from tests.tiny_bundle import image_parts

pytestmark = [
    pytest.mark.usefixtures("tracking_uri"),
]

ROOT = Path(__file__).resolve().parents[2]
REGISTER = textwrap.dedent(
    """
    import sys
    from bundle.registry import ModelRegistry
    registry = ModelRegistry()
    print("set", flush=True)
    sys.stdin.readline()
    for _ in range(int(sys.argv[2])):
        print(registry.register(sys.argv[1], name=sys.argv[3]).number, flush=True)
    """
)


def register_at_once(folder, *, processes, each, name):
    """The numbers that each process was given, in its order."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", REGISTER, str(folder), str(each), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdout.readline() == "set\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    numbers = []
    for process in started:
        out, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        numbers.append([int(line) for line in out.split()])
    return numbers


def test_property_22_version_numbers_rise_from_one(tmp_path):
    bundle = image_parts().write(tmp_path / "bundle")

    numbers = [ModelRegistry().register(bundle.path).number for _ in range(3)]

    assert numbers == [1, 2, 3]


def test_property_22_version_numbers_are_unique_when_processes_register_at_once(
    tracking_uri, tmp_path
):
    bundle = image_parts().write(tmp_path / "bundle")

    numbers = register_at_once(bundle.path, processes=3, each=3, name="digits")

    assert sorted(itertools.chain(*numbers)) == list(range(1, 10))
    assert all(found == sorted(found) for found in numbers)
    registry = ModelRegistry()
    assert [version.number for version in registry.versions("digits")] == list(range(1, 10))
    assert registry.get("digits", "candidate").number == 9
    assert registry.routing("digits") == Routing(champion=1)
    assert len(registry.history("digits")) == 9


def test_property_22_a_number_is_not_used_again_after_its_version_was_deleted(
    tracking_uri, tmp_path
):
    from mlflow.tracking import MlflowClient

    bundle = image_parts().write(tmp_path / "bundle")
    registry = ModelRegistry()
    for _ in range(3):
        registry.register(bundle.path)
    MlflowClient(tracking_uri).delete_model_version("digits", "3")

    assert registry.register(bundle.path).number == 4
