"""The text form of a graph: one line per node, printed and parsed without loss.

    graph {
      input %a : float32[3x4] "weight"
      %0 : float32[3x4] = add(%a, float32[] 0x1.0p+0)  # train.py:12 in step: y = w + 1
      %1 : float32[3] = sum(%0) {axes=(1, 2)}
      return %1
    }

Invariant: parse_graph(print_graph(g)) has the same nodes, avals, parameters, literal bits and
sites; parsing never evaluates text, and every malformed input raises GraphError with a line number.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from math import prod
from typing import Any, Literal, NoReturn, cast

import numpy as np

from ...core import dtypes as dt
from ...core.aval import HOST, Aval, Device, aval, device, is_kind
from ...core.errors import GraphError, Site
from ...core.floating import in_plain_floats
from ..op import OPS
from .graph import Const, Graph, Node, Value
from .region import Region
from .verify import MAX_DEPTH, verify

__all__ = ["print_graph", "parse_graph", "print_node"]

_NAMES = {d.name: d for d in dt.ALL}
_REGION = "region"  # begins a graph that is a parameter
_UINT = {1: np.dtype("u1"), 2: np.dtype("u2"), 4: np.dtype("u4"), 8: np.dtype("u8")}


# ---- printing
def _float_text(value: float) -> str:
    if math.isfinite(value):
        return value.hex()
    if math.isnan(value):
        return "nan"
    return "inf" if value > 0 else "-inf"


def _param_text(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_param_text, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, Device):
        return f"@{value.name}"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, Region):  # its text as a string: one node stays one line
        return f"{_REGION} {json.dumps(print_graph(value.graph, sites=False))}"
    return _float_text(value) if type(value) is float else str(value)


@in_plain_floats
def _scalar_text(array: np.ndarray) -> str:
    """A number that reads back to the same bits, else the pattern after '#'."""
    dtype = array.dtype
    if dt.is_complex(dtype):
        return f"#{int.from_bytes(array.tobytes(), 'little'):0{2 * dtype.itemsize}x}"
    if not dt.is_float(dtype):
        return str(array.item())
    value = float(array)
    same = np.array(value).astype(dtype).tobytes() == array.tobytes()
    bits = int(array.reshape(1).view(_UINT[dtype.itemsize])[0])  # type: ignore[call-overload]
    return (
        _float_text(value) if same and math.isfinite(value) else f"#{bits:0{2 * dtype.itemsize}x}"
    )


def _literal_text(literal: Const, elide: int | None) -> str:
    if literal.aval.shape == ():
        return f"{literal.aval} {_scalar_text(literal.data)}"
    if elide is not None and literal.data.nbytes > elide:
        return f"{literal.aval} ..."
    return f"{literal.aval} #{np.ascontiguousarray(literal.data).tobytes().hex()}"


class _Names:
    """Value -> its name in the text."""

    def __init__(self, graph: Graph, elide: int | None) -> None:
        self.elide = elide
        self.of: dict[Value, str] = {v: f"%x{k}" for k, v in enumerate(graph.inputs)}
        for node in graph.nodes:
            for value in node.outputs:
                self.of[value] = f"%{len(self.of) - len(graph.inputs)}"

    def __call__(self, value: Value) -> str:
        return (
            _literal_text(value, self.elide)
            if isinstance(value, Const)
            else self.of.get(value, "%?")
        )


def _node_text(node: Node, name: _Names, sites: bool = True) -> str:
    outputs = ", ".join(f"{name(v)} : {v.aval}" for v in node.outputs)
    params = ", ".join(f"{k}={_param_text(v)}" for k, v in node.params.items())
    text = f"{outputs} = {node.op.name}({', '.join(map(name, node.inputs))})" + (
        f" {{{params}}}" if params else ""
    )
    if sites and node.site is not None:
        code = node.site.text()
        site = f"{node.site.file}:{node.site.line} in {node.site.function}" + (
            f": {code}" if code else ""
        )
        text += "  # " + site.replace("\n", " ").replace("\r", " ")
    return text


def print_node(node: Node) -> str:
    """One node alone, inputs numbered from %x0 (for messages)."""
    graph = Graph(
        list(dict.fromkeys(v for v in node.inputs if not isinstance(v, Const))), [node], ()
    )
    return _node_text(node, _Names(graph, 64))


def print_graph(graph: Graph, elide: int | None = None, sites: bool = True) -> str:
    """The text form.  `elide`: literals above that many bytes print as '...',
    which does not parse back; `sites`: with the user's lines."""
    name = _Names(graph, elide)
    lines = ["graph {"]
    for number, value in enumerate(graph.inputs):
        label = graph.names[number]
        lines.append(
            f"  input %x{number} : {value.aval}"
            + (f" {json.dumps(label)}" if label != f"x{number}" else "")
        )
    lines += ["  " + _node_text(n, name, sites) for n in graph.nodes]
    lines += [
        "  return " + ", ".join(map(name, graph.outputs)) if graph.outputs else "  return",
        "}",
    ]
    return "\n".join(lines) + "\n"


# ---- scanning
TokenKind = Literal[
    "value", "bits", "aval", "device", "string", "number", "word", "punct", "end"
]  # groups of the pattern, and the end of a line
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<value>%[A-Za-z0-9_]{1,64}) |
    (?P<bits>\#[0-9a-f]*) |
    (?P<aval>[a-z][a-z0-9]{1,15}\[[0-9x]{0,400}\](?:@[a-z][a-z0-9_]{0,31}(?::[0-9]{1,3})?)?) |
    (?P<device>@[a-z][a-z0-9_]{0,31}(?::[0-9]{1,3})?) |
    (?P<string>"(?:[^"\\\x00-\x1f]|\\.)*") |
    (?P<number>-?(?:0x[0-9a-f](?:\.[0-9a-f]{1,16})?p[+-][0-9]{1,5}|
        inf\b|nan\b|[0-9]{1,64}(?![0-9.])) ) |
    (?P<word>[A-Za-z_][A-Za-z0-9_]{0,64}) |
    (?P<punct>[(){},=:])
    )""",
    re.VERBOSE,
)
_SPACE = re.compile(r"\s*")
_SITE = re.compile(r"(?P<file>.+?):(?P<line>[0-9]{1,9}) in (?P<function>\S+?)(?:: .*)?$")


class _Line:
    """The tokens of one line, taken from the left."""

    def __init__(self, text: str, number: int) -> None:
        self.number, self.text, self.at, self.pos = number, text, 0, 0
        self.tokens: list[tuple[TokenKind, str]] = []
        self.site: Site | None = None
        start = 0
        while start < len(text):
            spaces = _SPACE.match(text, start)
            assert spaces is not None
            token_start = spaces.end()
            if token_start == len(text):
                break
            if text.startswith("# ", token_start):
                match = _SITE.match(text, token_start + 2)
                self.site = (
                    Site(match["file"], int(match["line"]), match["function"]) if match else None
                )
                break
            match = _TOKEN.match(text, start)
            if match is None or match.lastgroup is None:
                self.fail(f"cannot read {text[token_start : token_start + 20]!r}")
            self.tokens.append((cast(TokenKind, match.lastgroup), match[match.lastgroup]))
            start = match.end()

    def fail(self, reason: str) -> NoReturn:
        raise GraphError(f"line {self.number}: {reason}")

    def peek(self) -> tuple[TokenKind, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self, token_kind: TokenKind, text: str | None = None) -> str:
        found_kind, found = self.peek()
        if found_kind != token_kind or (text is not None and found != text):
            self.fail(f"expected {text or token_kind}, found {found or 'the end of the line'!r}")
        self.at += 1
        return found

    def skip(self, text: str) -> bool:
        if self.peek() == ("punct", text):
            self.at += 1
            return True
        return False

    def end(self) -> None:
        if self.at != len(self.tokens):
            self.fail(f"unexpected {self.peek()[1]!r}")


# ---- parsing
def _parse_aval(line: _Line) -> Aval:
    token = line.take("aval")
    name, _, remainder = token.partition("[")
    extents, _, device_text = remainder.partition("]")
    if name not in _NAMES:
        line.fail(f"unknown dtype {name!r}")
    parts = extents.split("x") if extents else []
    if any(not p or len(p) > 18 for p in parts) or len(parts) > 64:
        line.fail(f"bad shape [{extents}]")
    shape = tuple(map(int, parts))
    if prod(max(s, 1) for s in shape) >= 1 << 60:
        line.fail(f"shape [{extents}] is too large")
    where = _device(line, device_text[1:]) if device_text else HOST
    return aval(shape, _NAMES[name], where)


def _device(line: _Line, name: str) -> Device:
    found = device(name)
    if not is_kind(found.kind):
        line.fail(f"there is no device {name!r}")
    return found


def _parse_number(line: _Line, token: str) -> int | float:
    if token.lstrip("-") not in ("inf", "nan") and "x" not in token:
        return int(token)
    try:
        return float.fromhex(token)
    except OverflowError:
        line.fail(f"{token} is out of range")


def _string(line: _Line) -> str:
    token = line.take("string")
    try:
        value: str = json.loads(token)
    except ValueError:
        line.fail(f"bad string {token[:40]}")
    return value


def _parse_literal(line: _Line) -> Const:
    literal_aval = _parse_aval(line)
    token_kind, token = line.peek()
    line.at += 1
    if token_kind == "bits":
        if len(token) - 1 != 2 * literal_aval.nbytes:
            line.fail(
                f"{len(token) - 1} digits for a literal {literal_aval}, "
                f"which needs {2 * literal_aval.nbytes}"
            )
        pattern = bytes.fromhex(token[1:])
        if literal_aval.shape == ():
            pattern = pattern[::-1]
        elements = np.frombuffer(pattern, literal_aval.dtype).reshape(literal_aval.shape)
    elif (token_kind == "number" or token_kind == "word") and literal_aval.shape == ():
        elements = _scalar(line, literal_aval, token_kind, token)
    else:
        line.fail(f"expected the value of a literal {literal_aval}, found {token!r}")
    if literal_aval.dtype is dt.bool_ and (elements.view(np.uint8) > 1).any():
        line.fail("a bool literal holds 0 and 1 only")
    elements = np.array(elements)
    elements.flags.writeable = False
    return Const(literal_aval, elements)


@in_plain_floats
def _scalar(line: _Line, literal_aval: Aval, token_kind: TokenKind, token: str) -> np.ndarray:
    if token_kind == "word" and token not in ("True", "False"):
        line.fail(f"expected a number, found {token!r}")
    value: Any = token == "True" if token_kind == "word" else _parse_number(line, token)
    if (type(value) is bool) != (literal_aval.dtype is dt.bool_) or (
        dt.is_int(literal_aval.dtype) and type(value) is not int
    ):
        line.fail(f"{token} is not a literal of {literal_aval}")
    if not dt.can_hold(literal_aval.dtype, value):
        line.fail(f"{token} does not fit {literal_aval.dtype.name}")
    return (
        np.array(value, np.float64).astype(literal_aval.dtype)
        if dt.is_float(literal_aval.dtype)
        else np.array(value, literal_aval.dtype)
    )


def _parse_param(line: _Line, depth: int = 0) -> Any:
    token_kind, token = line.peek()
    if token_kind == "punct" and token == "(":
        if depth >= MAX_DEPTH:
            line.fail("tuples are nested too deeply")
        line.at += 1
        items = []
        while not line.skip(")"):
            items.append(_parse_param(line, depth + 1))
            if not line.skip(",") and line.peek() != ("punct", ")"):
                line.fail(f"expected ',' or ')', found {line.peek()[1]!r}")
        return tuple(items)
    if token_kind == "string":
        return _string(line)
    line.at += 1
    if token_kind == "number":
        return _parse_number(line, token)
    if token_kind == "device":
        return _device(line, token[1:])
    if token_kind == "word" and token in ("None", "True", "False"):
        return {"None": None, "True": True, "False": False}[token]
    if token_kind == "word" and token in _NAMES:
        return _NAMES[token]
    if token_kind == "word" and token == _REGION:
        return _parse_region(line, depth)
    line.fail(f"{token!r} is not a parameter value")


def _parse_region(line: _Line, depth: int) -> Region:
    if depth >= MAX_DEPTH:
        line.fail("regions are nested too deeply")
    try:
        return Region(parse_graph(_string(line), check=False))
    except GraphError as error:
        line.fail(f"in a region: {error}")


class _Reader:
    """Values by name while the lines are read."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.inputs: list[Value] = []
        self.names: list[str] = []
        self.nodes: list[Node] = []

    def define(self, line: _Line, name: str, value: Value) -> None:
        if name in self.values:
            line.fail(f"{name} is defined twice")
        self.values[name] = value

    def operands(self, line: _Line, stop: str | None) -> list[Value]:
        values: list[Value] = []
        while not (line.skip(stop) if stop else line.peek()[0] == "end"):
            if values:
                line.take("punct", ",")
            if line.peek()[0] == "aval":
                values.append(_parse_literal(line))
                continue
            name = line.take("value")
            if name not in self.values:
                line.fail(f"{name} is not defined")
            values.append(self.values[name])
        return values

    def input(self, line: _Line) -> None:
        if self.nodes:
            line.fail("inputs come before nodes")
        name = line.take("value")
        line.take("punct", ":")
        value = Value(_parse_aval(line))
        self.define(line, name, value)
        self.inputs.append(value)
        label = _string(line) if line.peek()[0] == "string" else name[1:]
        self.names.append(label)

    def node(self, line: _Line) -> None:
        outputs: list[tuple[str, Aval]] = []
        while not outputs or line.skip(","):
            name = line.take("value")
            line.take("punct", ":")
            outputs.append((name, _parse_aval(line)))
        line.take("punct", "=")
        op = OPS.get(line.take("word"))
        if op is None:
            line.fail(f"unknown op {line.tokens[line.at - 1][1]!r}")
        line.take("punct", "(")
        inputs = self.operands(line, ")")
        params: dict[str, Any] = {}
        if line.skip("{"):
            while not line.skip("}"):
                if params:
                    line.take("punct", ",")
                key = line.take("word")
                line.take("punct", "=")
                if key in params:
                    line.fail(f"parameter {key} is given twice")
                params[key] = _parse_param(line)
        node = Node(op, params, inputs, [a for _, a in outputs], line.site)
        for (name, _), value in zip(outputs, node.outputs):
            self.define(line, name, value)
        self.nodes.append(node)


def _lines(text: str) -> list[_Line]:
    return [_Line(t, k) for k, t in enumerate(text.split("\n"), 1) if t.strip()]


def parse_graph(text: str, check: bool = True) -> Graph:
    """The graph of a text form; verified unless `check` is False.
    Raises GraphError with a line number."""
    lines = _lines(text)
    if len(lines) < 3 or [t for _, t in lines[0].tokens] != ["graph", "{"]:
        raise GraphError("line 1: a graph starts with 'graph {' and ends with 'return ...' and '}'")
    if [t for _, t in lines[-1].tokens] != ["}"]:
        lines[-1].fail("a graph ends with '}'")
    reader = _Reader()
    outputs: Sequence[Value] | None = None
    for line in lines[1:-1]:
        if outputs is not None:
            line.fail("nothing follows 'return'")
        token_kind, word = line.peek()
        if token_kind == "word" and word in ("input", "return"):
            line.at += 1
            if word == "input":
                reader.input(line)
            else:
                outputs = reader.operands(line, None)
        else:
            reader.node(line)
        line.end()
    if outputs is None:
        lines[-1].fail("'return' is missing")
    try:
        graph = Graph(reader.inputs, reader.nodes, outputs, reader.names)
        return verify(graph) if check else graph
    except RecursionError:
        raise GraphError("the graph is nested too deeply") from None
