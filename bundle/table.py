"""Table: rows of text in aligned columns."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from itertools import zip_longest
from typing import TYPE_CHECKING

from bundle.quotation import escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP = "  "
NARROWEST = 8
"""Columns of text that a cell keeps, however narrow the terminal is."""
LONGEST_RULE = 80
"""Columns under a heading, where one cell goes on for pages."""


def format_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None
) -> str:
    """The header, a rule and the rows; columns are as wide as their widest cell.

    Where that is more than `width` altogether, the widest cells go on in the lines below.
    What cannot be seen, or would move the cursor, is written as an escape.
    """
    cells = [[escaped(cell) for cell in row] for row in (header, *rows)]
    columns = list(zip(*cells, strict=True))
    widths = [max(map(_width, column)) for column in columns]
    if width is not None:
        words = [
            max(_width(word) for cell in column for word in cell.split()) for column in columns
        ]
        widths = _fitted(widths, words, room=width - len(GAP) * (len(widths) - 1))
    rule = ["-" * min(width, LONGEST_RULE) for width in widths]
    return "\n".join(
        _line(line, widths)
        for row in (cells[0], rule, *cells[1:])
        for line in zip_longest(*map(_wrapped, row, widths), fillvalue="")
    )


def terminal_width() -> int | None:
    """Of the terminal that is written to; None where that is a file or another program."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _fitted(widths: Sequence[int], words: Sequence[int], *, room: int) -> list[int]:
    """The widest columns give way, between words as long as there are any."""
    fitted = list(widths)
    while sum(fitted) > room:
        between = [at for at, width in enumerate(fitted) if width > words[at]]
        within = [at for at, width in enumerate(fitted) if width > NARROWEST]
        if not between and not within:
            break
        fitted[max(between or within, key=fitted.__getitem__)] -= 1
    return fitted


def _wrapped(cell: str, width: int) -> list[str]:
    """The cell in lines that are no wider."""
    if _width(cell) <= width:
        return [cell]
    lines = [""]
    for word in cell.split():
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if _width(joined) <= width:
            lines[-1] = joined
        else:
            lines += _broken(word, width)
    return [line for line in lines if line]


def _broken(word: str, width: int) -> list[str]:
    """The word in pieces that are no wider."""
    pieces = [""]
    for character in word:
        if _width(pieces[-1] + character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)
    ]
    return GAP.join(padded).rstrip()


def _width(text: str) -> int:
    """Columns on a terminal, where East Asian characters take two and combining ones none."""
    return sum(
        0
        if unicodedata.combining(character)
        else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )
