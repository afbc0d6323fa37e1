"""The files of deploy/docker and deploy/compose, read by the tools that know their formats."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
COMPOSE = DEPLOY / "compose" / "compose.yaml"
LINE_LENGTH = "{extends: default, rules: {line-length: {max: 110}, document-start: disable}}"
FOLDERS = (DEPLOY, ROOT / "tests" / "deploy" / "containers", ROOT / ".ci", ROOT / "requirements")
FILES = sorted(path for folder in FOLDERS for path in folder.rglob("*") if path.is_file())
DOCKERFILES = [path for path in FILES if path.name.startswith("Dockerfile")]
SCRIPTS = [path for path in FILES if re.match(rb"#!.*sh\n", path.read_bytes())]
REFERENCE = re.compile(r"[a-z0-9.-]+(?:/[a-z0-9._-]+)+:[A-Za-z0-9][\w.-]*")


VARIABLE = re.compile(r"\$\{(\w+)(?::[-?]([^}]*))?\}")


def check(*command: object, environment: dict[str, str] | None = None) -> str:
    words = [str(word) for word in command]
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    """compose.yaml with .env.example's variables; each that is empty there is given a value."""
    lines = (DEPLOY / "compose" / ".env.example").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    given = {name: value or "anything" for name, value in pairs}

    def filled(match: re.Match[str]) -> str:
        name, default = match.groups()
        assert name in given or default, f"{name} is not in .env.example"
        return given.get(name, default)

    return yaml.safe_load(VARIABLE.sub(filled, COMPOSE.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_dockerfile_has_no_fault_that_hadolint_knows(path):
    check(BIN / "hadolint", path)


def test_scripts_have_no_fault_that_shellcheck_knows():
    assert {"compose.sh", "mc", "run"} <= {path.name for path in SCRIPTS}
    check(BIN / "shellcheck", *SCRIPTS)


def test_linters_are_given_every_dockerfile_and_every_script(tmp_path):
    for name in ("yamllint", "shellcheck", "hadolint", "actionlint"):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$@"\n')
        (tmp_path / name).chmod(0o755)
    make = ["make", "--directory", ROOT, "lint-deploy", "READY=", f"BIN={tmp_path}"]
    given = check(*make).splitlines()
    assert {str(path.relative_to(ROOT)) for path in [*DOCKERFILES, *SCRIPTS]} <= set(given)
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    [hadolint] = [hook["files"] for hook in hooks if hook["id"] == "hadolint"]
    assert all(re.search(hadolint, str(path.relative_to(ROOT))) for path in DOCKERFILES)


def test_yaml_has_no_fault_that_yamllint_knows():
    check(BIN / "yamllint", "--strict", "--config-data", LINE_LENGTH, DEPLOY / "compose")


def test_compose_file_follows_the_specification(composed):
    names = PyCompose.from_yaml(yaml.safe_dump(composed)).service_names()
    assert {"server", "server-gpu", "mlflow", "postgres", "artifacts"} <= set(names)


def test_specification_is_really_applied(composed):
    wrong = yaml.safe_dump(composed).replace("service_healthy", "service_well", 1)
    with pytest.raises(ValueError, match="service_well"):
        PyCompose.from_yaml(wrong)


def test_every_service_that_others_wait_for_can_tell_that_it_is_healthy(composed):
    services = composed["services"]
    asked = {
        other
        for service in services.values()
        for other, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }
    assert asked == {"mlflow", "postgres", "artifacts", "alertmanager", "prometheus"}
    for name in asked:
        build = services[name].get("build")
        dockerfile = (ROOT / build["dockerfile"]).read_text(encoding="utf-8") if build else ""
        assert "healthcheck" in services[name] or "HEALTHCHECK" in dockerfile, name


def test_every_service_runs_without_what_it_can_do_without(composed):
    for name, service in composed["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


def test_images_are_pinned_to_a_release(composed):
    for name, service in composed["services"].items():
        image = service["image"]
        assert service.get("build") or REFERENCE.fullmatch(image), name
        assert not image.endswith(":latest")


def test_token_that_is_missing_is_no_reason_to_make_a_folder_of_its_name(composed):
    [token] = [
        volume
        for volume in composed["services"]["alertmanager"]["volumes"]
        if "webhook-token" in str(volume)
    ]
    assert (token["type"], token["read_only"]) == ("bind", True)
    assert token["bind"] == {"create_host_path": False}


def test_training_has_room_for_the_batches_of_loading_processes(composed):
    assert composed["services"]["train"]["shm_size"] == "1gb"


def test_locks_of_the_images_agree_with_what_is_tested():
    def read(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        return dict(re.findall(r"^([\w.-]+)==(.+)$", text, flags=re.MULTILINE))

    tested = {name.lower().replace("_", "-"): number for name, number in read("dev.lock").items()}
    for lock in ("serve.lock", "serve-gpu.lock", "train.lock", "mlflow.lock", "sbom.lock"):
        for name, number in read(lock).items():
            assert tested.get(name.lower().replace("_", "-"), number) == number, f"{lock}: {name}"
    server = {name.lower() for name in [*read("serve.lock"), *read("serve-gpu.lock")]}
    assert not server & {"torch", "lightning", "pytorch-lightning", "hydra-core", "transformers"}
    assert "onnxruntime" not in read("serve-gpu.lock")
