"""What the pages point at is there: pages, headings, files, messages."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.docs.markdown import ROOT, Page, page, pages

PAGES = pages()
NAMES = [page.path for page in PAGES]
IN_THE_REPOSITORY = re.compile(
    r"^(?:bundle|trainer|optimize|serving|conf|tests|docs|benchmarks|examples|notebooks|requirements"
    r"|deploy|hydra_plugins|\.github)/[\w./-]*$"
)
TO_BE_WRITTEN = re.compile(r"small_photos|[A-Z]{4,}|/\.env$")
"""In the names of files that a page tells the reader to write, or that a command makes."""


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_to_files_and_headings(page: Page):
    folder = (ROOT / page.path).parent
    for link in page.links:
        target, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            assert link.startswith("https://"), link
            continue
        found = (folder / target).resolve() if target else ROOT / page.path
        assert found.exists(), f"{page.path}: {link}"
        if anchor:
            name = found.relative_to(ROOT).as_posix()
            [there] = [other for other in PAGES if other.path == name]
            assert anchor in there.anchors, (
                f"{page.path}: {link}; there are {sorted(there.anchors)}"
            )


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_that_are_named_are_there(page: Page):
    named = {text for text in page.inline if IN_THE_REPOSITORY.match(text)}
    named |= set(re.findall(r"\bdocs/[\w-]+\.md\b", page.prose))
    missing = [n for n in named if not TO_BE_WRITTEN.search(n) and not (ROOT / n).exists()]
    assert not missing


def test_messages_of_the_troubleshooting_page_are_those_of_the_code():
    rows = re.findall(r"^\| (`.+?) \| ", page("docs/troubleshooting.md").prose, flags=re.MULTILINE)
    quoted = [text for row in rows for text in re.findall(r"`([^`]+)`", row) if " " in text]
    assert len(quoted) >= 25
    missing = [text for text in quoted if not any(text in message for message in _messages())]
    assert not missing


@cache
def _messages() -> tuple[str, ...]:
    """Every text of the rooms, with `…` where a value goes."""
    found = [(ROOT / "Makefile").read_text(encoding="utf-8")]
    for room in ("bundle", "trainer", "optimize", "serving"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [_shown(part) for part in node.values]
                    found.append("".join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value.replace("%s", "…"))
    return tuple(found)


def _shown(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "…"


def test_a_page_is_linked_from_the_index_or_from_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    lost = [
        name
        for name in NAMES
        if name.startswith("docs/") and name.removeprefix("docs/") not in navigation
    ]
    assert not lost, f"mkdocs.yml's nav lacks {lost}"
