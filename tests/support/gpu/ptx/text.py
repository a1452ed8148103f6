"""PTX text taken apart: entries with their parameters, variables, registers and instructions.

Invariant: nothing is interpreted here; what is not understood raises ValueError with its line.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

__all__ = ["Entry", "Instruction", "Module", "Variable", "parse"]

UNDECLARED = 256  # threads for which any kernel has registers enough
SIZES = {"8": 1, "16": 2, "32": 4, "64": 8}


class Variable(NamedTuple):
    """A parameter or a variable of a space: where it starts there, and what it begins with."""

    space: str
    offset: int
    nbytes: int
    align: int
    content: bytes = b""
    dynamic: bool = False


class Instruction(NamedTuple):
    """An instruction: guard ("" or "%p1" or "!%p1"), full opcode, operands as text."""

    guard: str
    opcode: str
    operands: tuple[str, ...]


class Entry(NamedTuple):
    """A kernel.  Labels are positions in `instructions`."""

    name: str
    parameters: dict[str, Variable]
    variables: dict[str, Variable]
    registers: dict[str, str]
    instructions: tuple[Instruction, ...]
    labels: dict[str, int]
    tables: dict[str, tuple[str, ...]]
    most_threads: int

    @property
    def parameter_bytes(self) -> int:
        return max((p.offset + p.nbytes for p in self.parameters.values()), default=0)

    def space_bytes(self, space: str) -> int:
        """Bytes that the fixed variables of a space take."""
        places = [v for v in self.variables.values() if v.space == space and not v.dynamic]
        return max((v.offset + v.nbytes for v in places), default=0)


class Module(NamedTuple):
    """Kernels by name, the variables of the module and the target."""

    entries: dict[str, Entry]
    variables: dict[str, Variable]
    target: str


_VARIABLE = re.compile(
    r"(?:\.(?:extern|visible|weak|common)\s+)*\.(shared|global|const|local)\s+"
    r"(?:\.align\s+(\d+)\s+)?\.([busf]\d+)\s+([\w$.]+)\s*((?:\[\d*\])*)\s*(?:=\s*(.*))?$",
    re.S,
)
_PARAMETER = re.compile(
    r"\.param\s+(?:\.align\s+(\d+)\s+)?\.([busf]\d+)\s+(?:\.ptr\s+(?:\.\w+\s+)*?)?"
    r"(?:\.align\s+\d+\s+)?([\w$]+)(?:\[(\d+)\])?$"
)
_REGISTER = re.compile(r"\.reg\s+\.(\w+)\s+(.*)$", re.S)
_ENTRY = re.compile(
    r"(?:\.visible\s+|\.weak\s+)?\.entry\s+([\w$.]+)\s*(?:\((.*?)\))?([^{]*)\{", re.S
)
_INSTRUCTION = re.compile(r"(?:@(!?)\s*([%\w$]+)\s+)?([a-z][\w.:]*)\s*(.*)$", re.S)


def _split(text: str) -> list[str]:
    """Operands: commas outside of braces, brackets and parentheses."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        if letter in "{[(":
            depth += 1
        elif letter in "}])":
            depth -= 1
        elif letter == "," and not depth:
            parts.append(text[start:at].strip())
            start = at + 1
    last = text[start:].strip()
    return [*parts, last] if last else parts


def _content(kind: str, text: str | None) -> bytes:
    if not text:
        return b""
    size = SIZES[kind[1:]]
    values = [v.strip() for v in text.strip().strip("{}").split(",") if v.strip()]
    out = b""
    for value in values:
        number = int(value[2:], 16) if value[:2] in ("0f", "0d") else int(value.rstrip("U"), 0)
        out += (number & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return out


def _variable(text: str, taken: dict[str, int]) -> tuple[str, Variable] | None:
    found = _VARIABLE.match(text)
    if not found:
        return None
    space, align, kind, name, dimensions, content = found.groups()
    size = SIZES[kind[1:]]
    count = 1
    for dimension in re.findall(r"\[(\d*)\]", dimensions):
        count *= int(dimension or 0)
    width = int(align or size)
    offset = -(-taken.get(space, 0) // width) * width
    dynamic = "[]" in dimensions or (count == 0)
    if not dynamic:
        taken[space] = offset + count * size
    data = _content(kind, content)
    return name, Variable(space, offset, count * size, width, data, dynamic)


def _parameters(text: str | None) -> dict[str, Variable]:
    found: dict[str, Variable] = {}
    place = 0
    for item in _split(text or ""):
        match = _PARAMETER.match(" ".join(item.split()))
        if not match:
            raise ValueError(f"parameter not understood: {item!r}")
        align, kind, name, count = match.groups()
        size = SIZES[kind[1:]]
        width = int(align or size)
        place = -(-place // width) * width
        found[name] = Variable("param", place, size * int(count or 1), width)
        place += size * int(count or 1)
    return found


def _body_end(text: str, start: int) -> int:
    depth = 1
    for found in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if found.group() == "{" else -1
        if not depth:
            return found.start()
    raise ValueError("a kernel without an end")


class _Body:
    """The statements of one kernel."""

    def __init__(self, taken: dict[str, int]) -> None:
        self.taken = taken
        self.registers: dict[str, str] = {}
        self.variables: dict[str, Variable] = {}
        self.instructions: list[Instruction] = []
        self.labels: dict[str, int] = {}
        self.tables: dict[str, tuple[str, ...]] = {}
        self.scopes: list[dict[str, str]] = []
        self.count = 0

    def declare(self, kind: str, names: str) -> None:
        for name in _split(names):
            found = re.match(r"(.*)<(\d+)>$", name)
            every = [f"{found[1]}{n}" for n in range(int(found[2]))] if found else [name]
            for one in every:
                if self.scopes:
                    self.count += 1
                    self.scopes[-1][one] = f"{one}@{self.count}"
                    one = self.scopes[-1][one]
                self.registers[one] = kind

    def rename(self, text: str) -> str:
        for scope in reversed(self.scopes):
            for name, new in scope.items():
                text = re.sub(rf"(?<![\w%$]){re.escape(name)}(?![\w@])", new, text)
        return text

    def statement(self, text: str) -> None:
        register = _REGISTER.match(text)
        if register:
            self.declare(register[1], register[2])
        elif text.startswith("."):
            self.directive(text)
        else:
            found = _INSTRUCTION.match(self.rename(text))
            if not found:
                raise ValueError(f"statement not understood: {text!r}")
            minus, guard, opcode, operands = found.groups()
            self.instructions.append(
                Instruction((minus or "") + (guard or ""), opcode, tuple(_split(operands)))
            )

    def directive(self, text: str) -> None:
        made = _variable(text, self.taken)
        if made:
            self.variables[made[0]] = made[1]
        elif not text.startswith((".pragma", ".loc", ".file")):
            raise ValueError(f"directive not understood: {text!r}")

    def label(self, text: str) -> str:
        """Note a label that the text starts with; what is left."""
        found = re.match(r"([$\w]+):(?!:)\s*(.*)$", text, re.S)
        if not found:
            return text
        if found[2].startswith(".branchtargets"):
            self.tables[found[1]] = tuple(_split(found[2][len(".branchtargets") :]))
            return ""
        self.labels[found[1]] = len(self.instructions)
        return found[2]

    def read(self, text: str) -> None:
        """Statements end at semicolons; a brace outside of operands opens or closes a scope."""
        for piece in text.split(";"):
            rest, before = piece.strip(), ""
            while rest and rest != before:
                before = rest
                if rest[0] == "{":
                    self.scopes.append({})
                    rest = rest[1:].strip()
                elif rest[0] == "}":
                    self.scopes.pop()
                    rest = rest[1:].strip()
                else:
                    rest = self.label(rest)
            if rest:
                self.statement(rest)


def _entry(found: re.Match[str], text: str, module: dict[str, Variable]) -> Entry:
    name, parameters, notes = found.groups()
    taken: dict[str, int] = {}
    for variable in module.values():
        if variable.space == "shared" and not variable.dynamic:
            taken["shared"] = max(taken.get("shared", 0), variable.offset + variable.nbytes)
    body = _Body(taken)
    body.read(text[found.end() : _body_end(text, found.end())])
    most = re.search(r"\.maxntid\s+(\d+)", notes)
    variables = {**{n: v for n, v in module.items() if v.space == "shared"}, **body.variables}
    fixed = -(-taken.get("shared", 0) // 16) * 16
    for key, variable in variables.items():
        if variable.dynamic:  # after all that is fixed
            variables[key] = variable._replace(offset=fixed)
    return Entry(
        name,
        _parameters(parameters),
        variables,
        body.registers,
        tuple(body.instructions),
        body.labels,
        body.tables,
        int(most[1]) if most else UNDECLARED,
    )


@lru_cache(4096)
def parse(text: str) -> Module:
    """The kernels of a PTX text.

    >>> list(parse(".target sm_90\\n.visible .entry f()\\n{\\n ret;\\n}").entries)
    ['f']
    """
    text = re.sub(r"/\*.*?\*/", " ", re.sub(r"//[^\n]*", "", text), flags=re.S)
    target = re.search(r"\.target\s+(\w+)", text)
    entries, outside, at = {}, [], 0
    spans = []
    for found in _ENTRY.finditer(text):
        if found.start() < at:
            continue
        outside.append(text[at : found.start()])
        spans.append(found)
        at = _body_end(text, found.end()) + 1
    outside.append(text[at:])
    variables: dict[str, Variable] = {}
    taken: dict[str, int] = {}
    for statement in re.sub(r"\.(version|target|address_size)[^\n]*", "", "\n".join(outside)).split(
        ";"
    ):
        made = _variable(statement.strip(), taken)
        if made:
            variables[made[0]] = made[1]
        elif statement.strip():
            raise ValueError(f"outside of a kernel, not understood: {statement.strip()[:200]!r}")
    for found in spans:
        entries[found[1]] = _entry(found, text, variables)
    return Module(entries, variables, target[1] if target else "")
