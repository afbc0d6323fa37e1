"""What the README tells people to type can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from optimize.schema import register_schemas as register_export
from trainer.compose import compose
from trainer.schema import register_schemas as register_train

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python (train|export)\.py *([^#\n]*)", README, flags=re.MULTILINE)
SCHEMAS = {"train": register_train, "export": register_export}


@pytest.mark.parametrize(("name", "line"), COMMANDS)
def test_command_of_the_readme_composes(name, line):
    overrides = [word for word in shlex.split(line) if "=" in word and "," not in word]
    compose(name, overrides, schemas=SCHEMAS[name])


def test_every_target_of_the_readme_is_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    assert len(COMMANDS) >= 7
    assert set(re.findall(r"`?make ([a-z-]+)", README)) <= targets
