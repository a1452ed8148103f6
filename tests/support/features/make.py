"""Draws a program: statements with holes, blocks around statements, changes between calls.

Invariant: whatever is drawn ends, and every statement keeps `x` a float tensor with last axis 4.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Any

from .changes import ARGUMENTS, CHANGES
from .statements import BLOCKS, BRANCHES, CONDITIONS, HOLES, LINES, RESULTS
from .world import PIECES

__all__ = ["Block", "Case", "make_case"]

CALLS = 12
COMMON = set("T A x n f k t hb self lambda value if else for in not and results".split())
EFFECTFUL = ("with scope('s'):",)
GLOBALS = ("gain", "flag", "counter", "stride", "weight")


@dataclass
class Block:
    """A statement: a line, and the statements inside it where it ends in a colon; what follows it
    on the same level as part of it (else, except, finally)."""

    line: str
    inside: list[Block] = field(default_factory=list)
    parts: list[Block] = field(default_factory=list)

    def lines(self, indent: int) -> list[str]:
        """Its source lines."""
        found = ["    " * indent + line for line in self.line.split("\n")]
        if self.line.endswith(":"):
            if not self.inside:
                found.append("    " * (indent + 1) + "pass")
            for block in self.inside:
                found += block.lines(indent + 1)
        for part in self.parts:
            found += part.lines(indent)
        return found


@dataclass
class Case:
    """A program: pieces of its world, the statements of its step, and (change, arguments) of each
    call."""

    seed: int
    pieces: dict[str, str]
    body: list[Block]
    result: str
    calls: list[tuple[str, list[str]]]

    def source(self) -> str:
        """The module in which `function` is the decorator."""
        inside = [line for block in self.body for line in block.lines(1)]
        text = "\n".join(inside)
        stored = [
            name
            for name in GLOBALS
            if re.search(rf"^[^=\n(\[]*\b{name}\b[^=\n(\[]*=[^=]", text, re.MULTILINE)
        ]
        head = ["@function", "def step(x, n=2, f=0.5, data=None, o=None):"]
        if stored:
            head.append(f"    global {', '.join(stored)}")
        step = "\n".join([*head, *inside, f"    return {self.result}"])
        return "".join(self.pieces.values()) + step + "\n"


class _Draw:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.loops = 0
        self.calm = self.random.random() < 0.5  # nothing that keeps today's replays away

    def fill(self, text: str) -> str:
        """A template with its holes filled."""
        while "{" in text:
            found = re.search(r"\{(\w+)\}", text)
            if found is None:
                break
            value = self.random.choice(HOLES[found.group(1)])
            text = text[: found.start()] + value + text[found.end() :]
        return text.replace("<<", "{").replace(">>", "}")

    def statement(self, depth: int) -> Block:
        if depth < 2 and self.random.random() < 0.3:
            return self.block(depth)
        weights = [calm if self.calm else weight for weight, calm, _ in LINES]
        kind = self.random.choices([lines for _, _, lines in LINES], weights)[0]
        return Block(self.fill(self.random.choice(kind)))

    def some(self, depth: int, least: int = 1, most: int = 3) -> list[Block]:
        return [self.statement(depth) for _ in range(self.random.randint(least, most))]

    def condition(self, head: str) -> str:
        known = CONDITIONS if self.calm else (*CONDITIONS, *BRANCHES)
        found = head.replace("{condition}", self.random.choice(known))
        return found.replace("{branch}", self.random.choice(CONDITIONS if self.calm else BRANCHES))

    def block(self, depth: int) -> Block:
        usual = [heads for heads in BLOCKS if not (self.calm and heads[0] in EFFECTFUL)]
        heads = self.random.choice(usual)
        first, *rest = [self.fill(self.condition(head)) for head in heads]
        made = Block(first, self.some(depth + 1))
        for head in rest:
            made.parts.append(Block(head, self.some(depth + 1, 1, 2)))
        if first.startswith("while"):
            self.loops += 1
            made.inside.insert(0, Block("turns += 1"))
            # bounded whatever the condition says
            made.inside.insert(1, Block("if turns > 6:", [Block("break")]))
        return made


def _words(text: str, pattern: str) -> set[str]:
    return set(re.findall(pattern, text)) - COMMON


def _near(body: list[Block]) -> list[Any]:
    """Changes of exactly what the statements read, of what they name, and any."""
    named = "\n".join(line for block in body for line in block.lines(0))
    pools: list[Any] = []
    for pattern in (r"[A-Za-z_]\w*(?:\.\w+)+|\w+\[[^\]]*\]", r"[A-Za-z_]\w*"):
        found = _words(named, pattern)
        pools.append([c for c in CHANGES if _words(c.split(" = ")[0], pattern) & found])
    return [*pools, CHANGES]


def _calls(draw: _Draw, body: list[Block]) -> list[tuple[str, list[str]]]:
    pick, near = draw.random, _near(body)
    names = list(ARGUMENTS)
    held = {"x": "T(k)"} | dict.fromkeys(names[1:], "")
    for name in names[1:]:
        if pick.random() < 0.4:
            held[name] = pick.choice(ARGUMENTS[name])
    still = draw.calm or pick.random() < 0.7
    moving = [] if still else [name for name in names[1:] if held[name]]
    calls = []
    for number in range(CALLS):
        if number > 3 and pick.random() < 0.15:
            held["x"] = pick.choice(ARGUMENTS["x"])
        for name in moving:
            held[name] = pick.choice(ARGUMENTS[name])
        shown = {name: re.sub(r"\bk\b", str(number), text) for name, text in held.items()}
        given = [shown["x"], *_written(pick, {name: shown[name] for name in names[1:]})]
        many = pick.random() < 0.5 and number > 3
        known = pick.choices(near, (4, 4, 2))[0] or CHANGES
        changes = [draw.fill(pick.choice(known)) for _ in range(pick.choice((1, 1, 2)))]
        calls.append(("\n".join(changes) if many else "", given))
    return calls


def _written(pick: random.Random, shown: dict[str, str]) -> list[str]:
    """Arguments by keyword, in any order, or by position as far as none is left out."""
    given, by_position = [], pick.random() < 0.3
    for name, text in shown.items():
        by_position = by_position and bool(text)
        if text:
            given.append(text if by_position else f"{name}={text}")
    placed = [text for text in given if not re.match(r"\w+=", text)]
    named = given[len(placed) :]
    if pick.random() < 0.2:
        pick.shuffle(named)
    return placed + named


def make_case(seed: int) -> Case:
    """The program of a seed."""
    draw = _Draw(seed)
    body: list[Any] = draw.some(0, 2, 6)
    if draw.loops:
        body.insert(0, Block("turns = 0"))
    result = draw.random.choice(RESULTS)
    return Case(seed, dict(PIECES), body, result, _calls(draw, body))
