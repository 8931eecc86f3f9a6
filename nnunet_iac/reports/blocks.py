"""The parts of a report, free of HTML: paragraphs, lists, tables, pictures, and what can be folded away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Tone = Literal["good", "warn", "busy", "plain"]
"""How a badge or a notice looks: decided, undecided or wrong, running, neutral."""


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Notice:
    """Sentences that must not be missed."""

    items: tuple[str, ...]
    tone: Tone = "warn"


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; numbers are set to the right by the page."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A figure that is drawn when the report is written.

    Attributes:
        name: name of its PNG file without ending, unique in the report.
        caption: what to see in it, below the picture.
        alternative: what it shows, for readers who cannot see it.
        draw: returns the PNG file.
        width: width on the page in CSS pixels; None: as drawn.
    """

    name: str
    caption: str
    alternative: str
    draw: Callable[[], bytes]
    width: int | None = None


@dataclass(frozen=True)
class Folded:
    """Blocks under a line that opens them."""

    title: str
    blocks: tuple[Block, ...]


Block = Paragraph | Bullets | Notice | Table | Picture | Folded


@dataclass(frozen=True)
class Section:
    """A heading with its blocks; ``anchor`` is its place in the page's own links."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """A whole report: title, what it is about, its state in two or three words, sections."""

    title: str
    subject: str
    badge: str
    tone: Tone
    sections: tuple[Section, ...]


def pictures_of(blocks: tuple[Block, ...]) -> tuple[Picture, ...]:
    """Return all pictures in order, those in folded parts too.

    Example:
        >>> picture = Picture("a", "", "", bytes)
        >>> [p.name for p in pictures_of((Paragraph("x"), Folded("more", (picture,))))]
        ['a']
    """
    found: list[Picture] = []
    for block in blocks:
        if isinstance(block, Picture):
            found.append(block)
        elif isinstance(block, Folded):
            found.extend(pictures_of(block.blocks))
    return tuple(found)
