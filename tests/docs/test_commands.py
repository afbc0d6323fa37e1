"""Every block of the documentation is run by a test or says why not, and could be run as it is."""

from __future__ import annotations

import json
import re
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.docs.commands import UnknownCommandError, check, commands, words_of_inline
from tests.docs.markdown import ROOT, Block, Page, pages, parse

PAGES = pages()
BLOCKS = [block for page in PAGES for block in page.blocks]


def problem(block: Block, page: Page) -> str | None:
    """What is wrong with a block of commands or of Python."""
    if block.hides_commands:
        return "has commands: fence it as sh"
    if block.language == "python":
        compile(block.text, block.place, "exec")
    elif block.is_shell:
        for words in commands(block.text):
            with suppress(UnknownCommandError):
                check(words)
    else:
        return None
    if not (page.run_by or block.run_by or block.not_run):
        return "is neither run by a test nor marked"
    return None


@pytest.mark.parametrize("page", PAGES, ids=[page.path for page in PAGES])
def test_every_block_is_run_or_says_why_not(page):
    found = [
        f"{block.place} {wrong}: put `<!-- not run: REASON -->` or `<!-- run by: TEST -->` above it"
        for block in page.blocks
        if (wrong := problem(block, page)) is not None
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES, ids=[page.path for page in PAGES])
def test_every_command_in_the_text_could_be_run(page):
    for text in page.inline:
        words = words_of_inline(text)
        if words is not None:
            check(words)


def runs(test: str, block: Block) -> bool:
    """Whether the test reads the block from its page, or has every word of its commands."""
    if f'page("{block.page}")' in test:
        return True
    words = [word for words in commands(block.text) for word in words]
    return block.is_shell and all(f'"{Path(word).name}"' in test for word in words)


def test_marks_name_a_test_that_runs_the_block():
    marked = [(page.run_by, block) for page in PAGES if page.run_by for block in page.blocks]
    marked += [(block.run_by, block) for block in BLOCKS if block.run_by]
    assert len(marked) >= 2
    for test, block in marked:
        assert runs((ROOT / test).read_text(encoding="utf-8"), block), f"{block.place}: {test}"


def test_a_test_that_only_mentions_a_page_runs_none_of_its_blocks():
    block = Block("docs/page.md", 1, "sh", "promtool test rules deploy/alerts.yml")
    assert not runs('DOCUMENTED = [ROOT / "docs" / "page.md"]', block)
    assert not runs('tool("promtool", "test", "alerts.yml")', block)
    assert runs('tool("promtool", "test", "rules", str(tests / "alerts.yml"))', block)
    assert runs('page("docs/page.md").blocks', block)


def test_reasons_say_something_and_name_tests_that_exist():
    reasons = [block.not_run for block in BLOCKS if block.not_run]
    assert all(len(reason.split()) >= 3 for reason in reasons)
    named = {name for reason in reasons for name in re.findall(r"\btests/[\w./]*\w", reason)}
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("language", ["json", "toml", "yaml"])
def test_blocks_of_data_can_be_read(language):
    read = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}[language]
    for block in BLOCKS:
        if block.language == language:
            assert read(block.text), block.place


@pytest.mark.parametrize(
    "wrong",
    [
        "python train.py optim.learning_rate=1",
        "python train.py model=mlp,resnet_tiny",
        "python train.py -m model=mlp,resnet_huge",
        "python train.py trainer.max_epochs=many",
        "python export.py target=none optimize.gate.bugdet=0.01",
        "python serve.py --modle x",
        "python serve.py --port many",
        "python models.py promote digits",
        "python -m trainer.report",
        "python benchmarks/serving.py --secs 4",
        "make tset",
        "make test ARG=x",
        "make train ARGS='model=resnet_huge'",
        "make models ARGS='demote digits 4'",
        "pip install -e '.[everything]'",
        "\\\n  python train.py modle=mlp",
        "kubectl apply -k deploy/kubernetes/overlays/tpu",
        "kubectl apply -k deploy/kubernetes",
        "kubectl kustomize deploy/kubernetes/training",
        "kubectl create configmap boards --from-file=deploy/monitoring/boards",
        "envsubst < deploy/ecs/task.json",
        "aws ecs create-service --cli-input-json file://deploy/ecs/task.json",
    ],
)
def test_check_notices_a_command_that_would_fail(wrong):
    [words] = commands(wrong)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - any but one
        check(words)
    assert not isinstance(raised.value, UnknownCommandError)


@pytest.mark.parametrize("language", ["", "text"])
def test_commands_are_found_in_blocks_that_are_not_fenced_as_such(language):
    text = f"```{language}\nid=1\nkubectl apply -k deploy/kubernetes/overlays/cpu\n```\n"
    found = parse(text, name="page.md")
    assert problem(found.blocks[0], found) == "has commands: fence it as sh"


def test_commands_that_could_be_run_are_to_be_run_or_marked():
    found = parse("```sh\nmake test\n```\n", name="page.md")
    assert problem(found.blocks[0], found) == "is neither run by a test nor marked"


def test_a_block_is_found_however_it_is_written():
    text = (
        "a\n\n    python x.py\n\n1. b\n\n   ```sh\n   make y\n   ```\n\n"
        "<!-- not run: not here, now -->\n```sh\nz\n```\n"
    )
    found = parse(text, name="page.md").blocks
    assert [(block.language, block.text, block.not_run) for block in found] == [
        ("sh", "python x.py", ""),
        ("sh", "make y", ""),
        ("sh", "z", "not here, now"),
    ]
    assert [block.line for block in found] == [3, 7, 12]
