"""deploy's scripts: which engine they take, what they refuse, and what they make beforehand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "deploy" / "compose"
BUILD = ROOT / "deploy" / "docker" / "build.sh"
TOOLS = ("sh", "cat", "chmod", "date", "dirname", "git", "mkdir", "od", "rmdir", "sed", "tr")

SAYS = '#!/bin/sh\necho {name} "$@"\n'
WITHOUT_PLUGIN = '#!/bin/sh\ntest "$1" = info\n'
WITHOUT_DAEMON = "#!/bin/sh\nexit 1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of deploy/compose in which nothing has run."""
    copied = tmp_path / "compose"
    shutil.copytree(COMPOSE, copied, ignore=shutil.ignore_patterns(".env", "secrets"))
    return copied


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of programs, and the only one: no engine is among them."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    return programs


def install(machine: Path, name: str, script: str = SAYS) -> None:
    """Put a program there; as it is, it says its name and arguments."""
    (machine / name).write_text(script.format(name=name))
    (machine / name).chmod(0o755)


def run(
    machine: Path, *command: object, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "ENGINE": "", "EXTRAS": "", "TAG": "", **(environment or {})}
    return subprocess.run(
        [str(word) for word in command],
        check=False,
        capture_output=True,
        text=True,
        env={**variables, "PATH": str(machine)},
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize(
    ("engine", "called"),
    [
        ("", "docker compose ps\n"),
        ("docker", "docker compose ps\n"),
        ("podman", "podman-compose ps\n"),
    ],
)
def test_compose_takes_the_engine_that_is_named_and_docker_where_none_is(
    folder, machine, engine, called
):
    install(machine, "docker")
    install(machine, "podman-compose")
    done = run(machine, folder / "compose.sh", "ps", environment={"ENGINE": engine})
    assert done.stdout == called


@pytest.mark.parametrize("docker", [None, WITHOUT_PLUGIN, WITHOUT_DAEMON])
def test_compose_takes_podman_where_docker_cannot_do_it(folder, machine, docker):
    if docker is not None:
        install(machine, "docker", docker)
    install(machine, "podman-compose")
    assert run(machine, folder / "compose.sh", "ps").stdout == "podman-compose ps\n"


@pytest.mark.parametrize(
    ("docker", "message"),
    [
        (None, "there is neither Docker with its compose plugin nor podman-compose"),
        (WITHOUT_PLUGIN, "Docker has no compose plugin"),
        (WITHOUT_DAEMON, "Docker does not answer"),
    ],
)
def test_compose_says_what_is_missing(folder, machine, docker, message):
    if docker is not None:
        install(machine, "docker", docker)
    assert message in refusal(run(machine, folder / "compose.sh", "ps"))
    assert not (folder / ".env").exists()


def test_compose_refuses_an_engine_without_compose(folder, machine):
    done = run(machine, folder / "compose.sh", "ps", environment={"ENGINE": "buildah"})
    assert "ENGINE=buildah: must be docker or podman" in refusal(done)


def test_compose_replaces_a_folder_in_place_of_the_token(folder, machine):
    install(machine, "docker")
    (folder / "secrets" / "webhook-token").mkdir(parents=True)
    assert run(machine, folder / "compose.sh", "ps").returncode == 0
    assert (folder / "secrets" / "webhook-token").is_file()


def test_compose_makes_secrets_once(folder, machine):
    install(machine, "docker")
    made = []
    for _ in range(2):
        assert run(machine, folder / "compose.sh", "ps").returncode == 0
        made.append(((folder / ".env").read_text(), (folder / "secrets/webhook-token").read_text()))
    assert made[0] == made[1]
    values = dict(re.findall(r"^(\w+)=(.*)$", made[0][0], flags=re.MULTILINE))
    passwords = [value for name, value in values.items() if name.endswith("PASSWORD")]
    assert len(set(passwords)) == len(passwords) == 4
    assert all(re.fullmatch(r"[0-9a-f]{32}", value) for value in passwords)
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("installed", "named", "taken"),
    [
        (("docker", "podman", "buildah"), "", "docker"),
        (("podman", "buildah"), "", "podman"),
        (("buildah",), "", "buildah"),
        (("docker", "podman", "buildah"), "buildah", "buildah"),
    ],
)
def test_build_takes_the_engine_that_is_named_and_the_first_where_none_is(
    machine, installed, named, taken
):
    for name in installed:
        install(machine, name, '#!/bin/sh\ntest "$1" != build || echo {name} "$@" >&2\necho 1\n')
    done = run(machine, BUILD, "serve", environment={"ENGINE": named, "EXTRAS": "trt"})
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"{taken} build --file deploy/docker/Dockerfile.serve")
    assert "--tag trainyard-serve:local-trt " in done.stderr
    assert "--build-arg EXTRAS=trt " in done.stderr
    assert ("--format docker" in done.stderr) is (taken != "docker")


def test_build_passes_by_a_docker_without_a_daemon(machine):
    install(machine, "docker", WITHOUT_DAEMON)
    install(machine, "buildah")
    assert run(machine, BUILD, "mlflow").stdout.startswith("buildah build")


@pytest.mark.parametrize(
    ("image", "environment", "message"),
    [
        ("serve", {}, "none of docker, podman and buildah is here"),
        ("serve", {"ENGINE": "kaniko"}, "ENGINE=kaniko: must be docker, podman or buildah"),
        ("server", {}, "image server: must be serve, train or mlflow"),
        ("mlflow", {"EXTRAS": "gpu"}, "EXTRAS=gpu: the image mlflow has no extras"),
    ],
)
def test_build_refuses_what_it_cannot_do(machine, image, environment, message):
    assert message in refusal(run(machine, BUILD, image, environment=environment))


def test_locks_are_made_with_the_version_of_python_that_they_are_for(machine, tmp_path):
    copied = tmp_path / "requirements" / "lock.sh"
    copied.parent.mkdir()
    shutil.copyfile(ROOT / "requirements" / "lock.sh", copied)
    for name in ("bash", "mktemp", "rm"):
        (machine / name).symlink_to(shutil.which(name))
    install(machine, "python", "#!/bin/sh\nexit 1\n")
    done = run(machine, "bash", copied, environment={"PYTHON": "python"})
    assert "PYTHON=python: the locks are Python 3.11's" in refusal(done)
    assert list(copied.parent.iterdir()) == [copied]
