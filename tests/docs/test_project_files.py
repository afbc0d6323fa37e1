"""The project's own files: a workflow of known targets, local hooks, texts that keep their form."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from itertools import dropwhile
from pathlib import Path

import pytest
import yaml

from tests.docs.commands import check, commands
from tests.docs.markdown import ROOT, page

BIN = Path(sys.executable).parent
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


def workflow_commands() -> list[list[str]]:
    """Without what gives root's rights, and without what installs Debian's packages."""
    jobs = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    found = [words for step in steps if "run" in step for words in commands(step["run"])]
    plain = [_without_sudo(words) for words in found]
    return [words for words in plain if words[0] != "apt-get"]


def _without_sudo(words: list[str]) -> list[str]:
    if words[0] != "sudo":
        return words
    return [*dropwhile(lambda word: word.startswith("--"), words[1:])]


def test_workflow_calls_targets_that_exist_and_nothing_else():
    for words in workflow_commands():
        assert words[0] == "make"
        check(words)


def test_workflow_has_every_stage_of_ci():
    local = re.findall(r"^make (.+)$", (ROOT / ".ci" / "run").read_text(), flags=re.MULTILINE)
    theirs = {target for words in workflow_commands() for target in words[1:]}
    assert {target for line in local for target in line.split()} <= theirs
    assert {"lint", "type", "test", "docs", "test-docs", "test-deploy", "soak"} <= theirs


def test_workflow_ends_the_tests_after_the_time_that_they_may_take():
    steps = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["test"]["steps"]
    assert [step.get("timeout-minutes") for step in steps if step.get("run") == "make test"] == [20]


def test_workflow_passes_actionlint():
    done = subprocess.run(
        [BIN / "actionlint", str(WORKFLOW)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_hooks_are_local_and_call_what_is_installed():
    config = ROOT / ".pre-commit-config.yaml"
    subprocess.run([BIN / "pre-commit", "validate-config", str(config)], check=True)
    repositories = yaml.safe_load(config.read_text(encoding="utf-8"))["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    for hook in repositories[0]["hooks"]:
        program, *arguments = hook["entry"].split()
        assert (BIN / Path(program).name).is_file()
        assert all((ROOT / word).is_file() for word in arguments if word.endswith(".py"))


def test_changelog_keeps_the_format():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", name) for name in versions[1:])
    kinds = set(re.findall(r"^### (.+)$", text, flags=re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_licence_is_the_one_that_the_project_declares():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = " ".join((ROOT / "LICENSE").read_text(encoding="utf-8").split())
    assert project["license"] == "Apache-2.0"
    assert text.startswith("Apache License Version 2.0, January 2004")
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize(
    "what", ["TensorRT", "more than one GPU", "Grafana", "Kubernetes API server", "ECS"]
)
def test_readme_says_what_was_not_run(what):
    assert what in page("README.md").prose.partition("## Not run here")[2]


def test_every_target_of_the_makefile_is_declared_and_explained():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z][a-z-]*):.*?(## .+)?$", text, flags=re.MULTILINE)
    [phony] = re.findall(r"^\.PHONY: (.+)$", text, flags=re.MULTILINE)
    assert {name for name, _ in targets} == set(phony.split())
    assert all(explained for _, explained in targets)
