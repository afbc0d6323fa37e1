"""Every block of the documentation is run by a test, or could be, or says why it is not."""

from __future__ import annotations

import json
import tomllib

import pytest
import yaml

from tests.docs.commands import UnknownCommandError, check, commands, words_of_inline
from tests.docs.markdown import ROOT, Block, Page, pages, parse

PAGES = pages()
BLOCKS = [block for page in PAGES for block in page.blocks]


def problem(block: Block, page: Page) -> str | None:
    """What is wrong with a block of commands or of Python."""
    run = bool(page.run_by or block.run_by)
    if block.language == "python":
        compile(block.text, block.place, "exec")
        return None if run or block.not_run else "is neither run by a test nor marked"
    strangers = []
    for words in commands(block.text):
        try:
            check(words)
        except UnknownCommandError as error:
            strangers.append(str(error))
    if strangers and not (run or block.not_run):
        return f"has {', '.join(strangers)}, is not run by a test and not marked"
    if block.not_run and not strangers and not page.run_by:
        return f"is marked 'not run: {block.not_run}', but all of it is checked"
    return None


@pytest.mark.parametrize("page", PAGES, ids=[page.path for page in PAGES])
def test_every_block_is_run_or_checked_or_says_why_not(page):
    found = [
        f"{block.place} {wrong}: put `<!-- not run: REASON -->` or `<!-- run by: TEST -->` above it"
        for block in page.blocks
        if block.is_shell or block.language == "python"
        if (wrong := problem(block, page)) is not None
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES, ids=[page.path for page in PAGES])
def test_every_command_in_the_text_could_be_run(page):
    for text in page.inline:
        words = words_of_inline(text)
        if words is not None:
            check(words)


def test_marks_name_a_test_that_reads_the_page_and_reasons_that_say_something():
    marked = [(page.path, page.run_by) for page in PAGES if page.run_by]
    marked += [(block.page, block.run_by) for block in BLOCKS if block.run_by]
    assert len(marked) >= 2
    for page, test in marked:
        assert page.rpartition("/")[2] in (ROOT / test).read_text(encoding="utf-8"), test
    assert all(len(block.not_run.split()) >= 3 for block in BLOCKS if block.not_run)


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
    ],
)
def test_check_notices_a_command_that_would_fail(wrong):
    [words] = commands(wrong)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - any but one
        check(words)
    assert not isinstance(raised.value, UnknownCommandError)


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
