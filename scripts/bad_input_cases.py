"""What a bad input is, the commands that are given them, and what puts one into the world."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bad_input_world import CHECKPOINT, HOST, SEARCHED

Prepare = Callable[[Path], object]
"""Puts an input into the world, whose folder it is given."""

SCORE = "score random -d 990 -c 2d --images 2"
CONFIGURE = "configure -d 990 -c 2d -o new"
TRANSFER = f"transfer --from {{}}/{CHECKPOINT} -d 990 -c 2d -o {{}}/out/new.pth"
COMPARE = f"compare {{}}/{HOST} {{}}/{SEARCHED}"
REPORT = f"report {{}}/{SEARCHED} -o {{}}/out/r.html"
ADD = f"zoo add --zoo {{}}/new {{}}/{HOST}/fold_0"
PRETRAIN = "pretrain -d 990 -c 2d --images {}/images --epochs 1 --iterations 1 --watched 2 --batch-size 2 -o {}/out/p"


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        kind: row of the table.
        name: for people.
        line: the command; ``{}`` is the world's folder.
        names: one of these must be in the message.
        prepare: puts the input into the world.
        more: words of the command with blanks, as they are.
    """

    kind: str
    name: str
    line: str
    names: tuple[str, ...]
    prepare: Prepare = lambda base: None
    more: tuple[str, ...] = ()

    def words(self, base: Path) -> list[str]:
        """Return the command's words."""
        words = [word.replace("{}", str(base)) for word in self.line.split()]
        return [*words, *(word.replace("{}", str(base)) for word in self.more)]


def written(name: str, content: bytes | str) -> Prepare:
    """Return what writes a file of the world."""

    def prepare(base: Path) -> None:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return prepare


def changed(name: str, change: Callable[[Any], Any]) -> Prepare:
    """Return what changes a JSON file of the world."""

    def prepare(base: Path) -> None:
        content = json.loads((base / name).read_text(encoding="utf-8"))
        result = change(content)
        (base / name).write_text(json.dumps(content if result is None else result), encoding="utf-8")

    return prepare


def put(*path: str | int, value: Any) -> Callable[[Any], None]:
    """Return what sets a value deep in JSON."""

    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change
