"""Flags beat the environment, which beats the file, which beats the defaults."""

from __future__ import annotations

import tomllib

import pytest

from serving.errors import SettingsError
from serving.flags import read_command_line
from serving.settings import SPECS, docstrings, flag, variable


def read(*argv: str, **environment: str):
    return read_command_line(list(argv), environment)


def test_every_setting_has_a_flag_a_variable_and_a_docstring():
    texts = docstrings()
    for name, spec in SPECS.items():
        assert flag(spec) == "--" + name.replace("_", "-")
        assert variable(spec) == "TRAINYARD_" + name.upper()
        assert len(texts[name]) > 20


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text('port = 1\nbatch_size = 1\nbatch-delay-ms = 1\nmodel = ["m"]\n')
    command = read(
        "--config", str(file), "--port", "3", TRAINYARD_PORT="2", TRAINYARD_BATCH_SIZE="2"
    )
    settings = command.settings
    assert (settings.port, settings.batch_size, settings.batch_delay_ms) == (3, 2, 1.0)
    assert settings.model == ("m",)
    origins = command.origins
    assert origins["port"] == "--port"
    assert origins["batch_size"] == "TRAINYARD_BATCH_SIZE"
    assert origins["batch_delay_ms"] == str(file)
    assert origins["host"] == "default"


def test_the_environment_can_name_the_file(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text("port = 9\n")
    assert read(TRAINYARD_CONFIG=str(file)).settings.port == 9


def test_printed_settings_are_a_file_that_says_the_same(tmp_path):
    command = read("--model", "a=b", "--model", 'with "quotes"', "--batch-delay-ms", "0.1")
    file = tmp_path / "printed.toml"
    file.write_text(command.toml())
    assert read("--config", str(file)).settings == command.settings
    assert "  # --batch-delay-ms" in command.toml()


@pytest.mark.parametrize(
    ("argv", "environment", "message"),
    [
        (["--port", "x"], {}, "--port=x must be an integer from 0 to 65535"),
        (["--port", "70000"], {}, "--port=70000 must be"),
        (["--port", "80.5"], {}, "--port=80.5 must be an integer"),
        (["--batch-size", "0"], {}, "--batch-size=0 must be an integer from 1"),
        (["--batch-delay-ms", "nan"], {}, "--batch-delay-ms=nan must be a number"),
        (["--provider", "gpu"], {}, "--provider=gpu must be one of auto, cpu"),
        ([], {"TRAINYARD_BATCH_SIZE": "many"}, "TRAINYARD_BATCH_SIZE=many must be an integer"),
        ([], {"TRAINYARD_LOG_LEVEL": "loud"}, "TRAINYARD_LOG_LEVEL=loud must be one of"),
        (["--no-such-flag", "1"], {}, "unrecognized arguments: --no-such-flag"),
        (["--por", "1"], {}, "unrecognized arguments: --por"),
        (["--port"], {}, "expected one argument"),
        (["--config", "/no/such/file"], {}, "cannot be read"),
        (["--max-batch-instances", "3000"], {}, "max_batch_instances=3000 is more than queue_size"),
        (
            ["--max-body-bytes", "1073479681", "--max-held-mb", "2048"],
            {},
            "--max-body-bytes=1073479681 must be an integer from 1024 to 1073479680",
        ),
        (
            ["--max-held-mb", "31.5"],
            {},
            "max_body_bytes=33554432 is more than max_held_mb=31.5 MiB",
        ),
    ],
)
def test_a_wrong_value_names_its_source_and_itself(argv, environment, message):
    with pytest.raises(SettingsError, match=message.replace("[", r"\[")) as caught:
        read(*argv, **environment)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port = 'x'", "port=x must be an integer"),
        ("port = true", "port=True must be an integer"),
        ("port = 80.0", "port=80.0 must be an integer"),
        ("host = 3", "host=3 must be a string"),
        ("model = 3", "model=3 must be a list of strings"),
        ("prt = 3", "did you mean port"),
        ("zzz = 3", "the settings are model, host"),
        ("port 3", "is not TOML"),
    ],
)
def test_a_wrong_line_of_the_file_names_the_file_and_itself(tmp_path, text, message):
    file = tmp_path / "serve.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read("--config", str(file))
    assert message in f"{caught.value}; {caught.value.remedy}"
    assert str(file) in str(caught.value)


def test_a_variable_that_kubernetes_injects_is_explained():
    with pytest.raises(SettingsError) as caught:
        read(TRAINYARD_PORT="tcp://10.0.0.1:80")
    assert "enableServiceLinks" in str(caught.value.remedy)


def test_an_empty_variable_is_as_good_as_none():
    assert read(TRAINYARD_PORT="").settings.port == SPECS["port"].default


def test_a_misspelt_variable_is_warned_of_and_a_foreign_one_is_not():
    command = read(TRAINYARD_BATCHSIZE="1", TRAINYARD_TRACEBACK="1", TRAINYARD_CACHE="x")
    assert command.warnings == (
        "TRAINYARD_BATCHSIZE is not a setting; did you mean TRAINYARD_BATCH_SIZE?",
    )


def test_printed_settings_parse_as_toml():
    assert set(tomllib.loads(read().toml())) == set(SPECS)
    model = 'ä 🙂 "quoted" \\ =models'
    assert tomllib.loads(read("--model", model).toml())["model"] == [model]
