"""Property 27: the environment configures the server: all of it, checked, between flag and file."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from serving.errors import SettingsError
from serving.flags import read_command_line
from serving.settings import SPECS, flag, variable

ROOT = Path(__file__).resolve().parents[2]
OTHERS = {
    "model": "a=x,b", "host": "0.0.0.0", "log_level": "debug", "provider": "cpu",
    "fallback": "cpu", "variant": "int8", "queue_size": "5000", "max_body_bytes": "70000",
    "otlp_endpoint": "http://a", "guardrail": "off", "page": "off",
}  # fmt: skip
"""A value that is not the default; a number goes for all others."""
NUMBERS = [name for name, spec in SPECS.items() if "minimum" in spec.metadata]
CHOICES = [name for name, spec in SPECS.items() if "choices" in spec.metadata]


def chosen(name: str) -> str:
    if name in OTHERS:
        return OTHERS[name]
    return "47" if name in NUMBERS else "some-text"


def value_of(name: str, text: str) -> object:
    if name == "model":
        return text.split(",")
    return type(SPECS[name].default)(text)


def print_settings(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: text for key, text in os.environ.items() if not key.startswith("TRAINYARD_")}
    return subprocess.run(
        [sys.executable, str(ROOT / "serve.py"), "--print-settings", *arguments],
        env=kept | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_property_27_the_server_takes_every_setting_from_the_environment():
    environment = {variable(spec): chosen(name) for name, spec in SPECS.items()}
    done = print_settings(**environment)
    assert (done.returncode, done.stderr) == (0, "")
    printed = tomllib.loads(done.stdout)
    assert printed == {name: value_of(name, chosen(name)) for name in SPECS}
    lines = dict(zip(SPECS, done.stdout.splitlines(), strict=True))
    for name, spec in SPECS.items():
        assert lines[name].endswith(f"# {variable(spec)}")
        assert printed[name] != spec.default


def test_property_27_a_wrong_variable_stops_the_command_and_names_itself():
    done = print_settings(TRAINYARD_BATCH_SIZE="many")
    assert done.returncode == 2
    assert done.stderr == ("error: TRAINYARD_BATCH_SIZE=many must be an integer from 1 to 4096\n")


def test_property_27_a_misspelt_variable_is_told():
    done = print_settings(TRAINYARD_BATCHSIZE="3", TRAINYARD_PORT="9")
    assert done.returncode == 0
    assert done.stderr == (
        "warning: TRAINYARD_BATCHSIZE is not a setting; did you mean TRAINYARD_BATCH_SIZE?\n"
    )
    assert tomllib.loads(done.stdout)["port"] == 9


@pytest.mark.parametrize("name", [*NUMBERS, *CHOICES])
def test_property_27_every_wrong_value_names_its_variable_and_itself(name):
    spec = SPECS[name]
    wrong = ["many", "-1e30", "1e30", "nan", ""] if name in NUMBERS else ["many"]
    for text in filter(None, wrong):
        with pytest.raises(SettingsError, match=f"^{variable(spec)}={text} must be ") as caught:
            read_command_line([], {variable(spec): text})
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", [name for name in SPECS if name not in CHOICES])
def test_property_27_a_flag_beats_the_environment_beats_the_file_beats_the_default(name, tmp_path):
    spec = SPECS[name]
    texts = {"file": "3001", "environment": "3002", "flag": "3003"}
    if name in NUMBERS:
        least, most = spec.metadata["minimum"], spec.metadata["maximum"]
        base = 3000 if least <= 3000 < most else least
        texts = {k: str(int(min(base + n, most))) for n, k in enumerate(texts, start=1)}
    quoted = f'"{texts["file"]}"' if name not in NUMBERS else texts["file"]
    file = tmp_path / "serve.toml"
    file.write_text(f"{name} = [{quoted}]\n" if name == "model" else f"{name} = {quoted}\n")
    extra = {} if name == "queue_size" else {"TRAINYARD_QUEUE_SIZE": "9000"}

    def origin(*arguments: str, **environment: str) -> tuple[object, str]:
        command = read_command_line(arguments, environment | extra)
        return getattr(command.settings, name), command.origins[name]

    def expected(text: str) -> object:
        return (text,) if name == "model" else type(spec.default)(text)

    fromfile, told = ["--config", str(file)], {variable(spec): texts["environment"]}
    assert origin() == (getattr(read_command_line([], {}).settings, name), "default")
    assert origin(*fromfile) == (expected(texts["file"]), str(file))
    assert origin(*fromfile, **told) == (expected(texts["environment"]), variable(spec))
    assert origin(*fromfile, flag(spec), texts["flag"], **told) == (
        expected(texts["flag"]),
        flag(spec),
    )
