"""What a page is made of. All texts are plain: the template escapes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True, kw_only=True)
class Note:
    """A paragraph."""

    kind: str = field(default="note", init=False)
    text: str


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What is missing, and why."""

    kind: str = field(default="gap", init=False)
    text: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """The first column names its row."""

    kind: str = field(default="table", init=False)
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    foot: tuple[tuple[str, ...], ...] = ()
    columns: Literal["numbers", "texts", "digests"] = "numbers"
    """How they are set; of `digests` only the last one may be broken over lines."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Names and values."""

    kind: str = field(default="facts", init=False)
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture; the SVG says in its label what there is to see."""

    kind: str = field(default="chart", init=False)
    svg: Markup
    caption: str
    narrow: bool = False


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Preformatted text behind a title that opens it."""

    kind: str = field(default="listing", init=False)
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One entry of a timeline."""

    time: str
    """ISO 8601, or ""."""
    shown: str
    title: str
    details: str
    tone: str
    """`good`, `bad` or `plain`."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What happened, oldest first."""

    kind: str = field(default="timeline", init=False)
    moments: tuple[Moment, ...]


Block = Note | Gap | Table | Facts | Chart | Listing | Timeline


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what is below it."""

    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One number that is seen first."""

    label: str
    value: str
    hint: str = ""
