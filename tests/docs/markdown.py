"""A page of the documentation, taken apart: its blocks, what it quotes, its links, its headings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^( *)(```+|~~~+) *([^\s`]*)")
MARK = re.compile(r"^ *<!-- (not run|run by|the page is run by):? (.+?) -->$")
SHELL = ("sh", "bash", "shell", "console")
COMMAND_WORDS = (
    *("python ", "make ", "pip ", "curl ", "source ", "export ", "git "),
    *("kubectl ", "aws ", "envsubst ", "docker ", "podman ", "promtool "),
)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"(?<!\!)\[(?:[^\]]|\[[^\]]*\])*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block, or an indented one."""

    page: str
    line: int
    language: str
    text: str
    not_run: str = ""
    """Why, if it is marked so."""
    run_by: str = ""
    """The test that it is marked with."""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_shell(self) -> bool:
        return self.language in SHELL

    @property
    def hides_commands(self) -> bool:
        """Whether it has commands but is not fenced as such."""
        lines = self.text.splitlines()
        return self.language in ("", "text") and any(x.startswith(COMMAND_WORDS) for x in lines)


@dataclass
class Page:
    """`run_by` is the test that runs every block of it."""

    path: str
    blocks: list[Block] = field(default_factory=list)
    prose: str = ""
    """What stands outside of blocks."""
    run_by: str = ""

    @property
    def inline(self) -> list[str]:
        return [text.strip().replace("\\|", "|") for text in INLINE.findall(self.prose)]

    @property
    def links(self) -> list[str]:
        without_code = INLINE.sub("", self.prose)
        return [left or right for left, right in LINK.findall(without_code)]

    @property
    def anchors(self) -> set[str]:
        titles = re.findall(r"^#+ (.+)$", self.prose, flags=re.MULTILINE)
        return {_slug(title) for title in titles}


@cache
def pages() -> list[Page]:
    """Every page that a reader is sent to."""
    files = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    return [read_page(path) for path in files]


def page(name: str) -> Page:
    return next(found for found in pages() if found.path == name)


def read_page(path: Path) -> Page:
    name = path.relative_to(ROOT).as_posix()
    return parse(path.read_text(encoding="utf-8"), name=name)


def parse(text: str, *, name: str) -> Page:
    """Takes the part of CommonMark that the pages use: fences, and blocks indented by four."""
    found = Page(name)
    prose: list[str] = []
    lines = text.splitlines()
    marks: dict[str, str] = {}
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if mark := MARK.match(line):
            if mark[1] == "the page is run by":
                found.run_by = mark[2]
            else:
                marks[mark[1].replace(" ", "_")] = mark[2]
            continue
        start = number
        if fence := FENCE.match(line):
            body = []
            while number < len(lines) and not lines[number].strip().startswith(fence[2]):
                body.append(lines[number].removeprefix(fence[1]))
                number += 1
            number += 1
            found.blocks.append(Block(name, start, fence[3], "\n".join(body), **marks))
        elif line.startswith("    ") and not (prose and prose[-1].strip()):
            body = [line[4:]]
            while number < len(lines) and lines[number].startswith("    "):
                body.append(lines[number][4:])
                number += 1
            language = "sh" if body[0].startswith(COMMAND_WORDS) else "text"
            found.blocks.append(Block(name, start, language, "\n".join(body), **marks))
        else:
            prose.append(line)
        if line.strip():
            marks = {}
    found.prose = "\n".join(prose)
    return found


def _slug(title: str) -> str:
    """As GitHub and Python-Markdown make it, for the plain titles that we have."""
    words = re.sub(r"[^\w\s-]", "", re.sub(r"[`*]", "", title)).strip().lower()
    return re.sub(r"\s", "-", words) if "  " not in words else re.sub(r"[-\s]+", "-", words)
