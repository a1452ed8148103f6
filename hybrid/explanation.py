"""What a recorded function does with its source, line by line: `explain`.

Invariant: looking changes nothing, and runs no code of the user.
"""

from __future__ import annotations

import ast
import html
import inspect
import os
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from .decorator import Function, unbound
from .trace.heap.facts import describe
from .trace.heap.spelling import parts
from .trace.serve.signatures import SignatureState
from .trace.serve.told.versions import Version, line_of

__all__ = ["Explanation", "SourceLine", "explain"]

SHOWN_GUARDS = 40  # of each version
COLORS = {"native": "#ddf5e6", "commit": "#fff3cd", "border": "#ffdede", "": "transparent"}


class SourceLine(NamedTuple):
    """One line of a function: `mark` is native (its operations are part of a plan), commit (what it
    changes in Python happens at the end of a replay), border (Python runs here, operations before
    and after it are apart, or the function runs eagerly for it) or ''; `note` says which and why.

    >>> import hybrid
    >>> line = hybrid.SourceLine(12, "border", "print(loss)", "calls builtins.print")
    >>> line.number, line.mark
    (12, 'border')
    """

    number: int
    mark: str
    source: str
    note: str


class Explanation:
    """What `explain` found: `lines` of the source, `versions`, and `changes` of values that made
    other versions.  str() and the notebook show all.

    >>> import hybrid
    >>> double = hybrid.function(lambda x: x + x)
    >>> for _ in range(4):
    ...     y = double(hybrid.ones(3))
    >>> [version.state for version in hybrid.explain(double).versions]
    ['native']
    """

    def __init__(
        self, title: str, lines: list[SourceLine], versions: list[Version], changes: list[str]
    ) -> None:
        self.title, self.lines, self.versions, self.changes = title, lines, versions, changes

    def __str__(self) -> str:
        wide = max([len(line.source) for line in self.lines], default=0)
        text = [self.title]
        for number, mark, source, note in self.lines:
            row = f"{number:5} {mark:6} | {source:{min(wide, 70)}}"
            text.append((f"{row}  # {note}" if note else row).rstrip())
        text += ["versions:"] if self.versions else []
        for number, version in enumerate(self.versions):
            text.append(f"  {number}: {version}")
            text += [f"       {guard}" for guard in version.guards[:SHOWN_GUARDS]]
            more = len(version.guards) - SHOWN_GUARDS
            text += [f"       and {more} more"] if more > 0 else []
        text += ["other versions because of:"] if self.changes else []
        return "\n".join([*text, *[f"  {change}" for change in self.changes]])

    def _repr_html_(self) -> str:
        rows = [
            f'<tr style="background:{COLORS[mark]}"><td>{number}</td><td>{mark}</td>'
            f"<td><pre style='margin:0'>{html.escape(source)}</pre></td>"
            f"<td>{html.escape(note)}</td></tr>"
            for number, mark, source, note in self.lines
        ]
        found = []
        for version in self.versions:
            guards = "<br>".join(map(html.escape, version.guards[:SHOWN_GUARDS]))
            found.append(
                f"<details><summary>{html.escape(str(version))}</summary>{guards}</details>"
            )
        changes = "".join(f"<li>{html.escape(change)}</li>" for change in self.changes)
        return (
            f"<p>{html.escape(self.title)}</p><table>{''.join(rows)}</table>{''.join(found)}"
            f"<ul>{changes}</ul>"
        )


def explain(fn: Function) -> Explanation:
    """The source of a recorded function with what becomes of each line, its versions, what each
    stands on, and which values made it record again.

    Raises TypeError for what `hybrid.function` did not make.

    >>> import hybrid
    >>> double = hybrid.function(lambda x: x + x)
    >>> for _ in range(4):
    ...     y = double(hybrid.ones(2))
    >>> [version.state for version in hybrid.explain(double).versions]
    ['native']
    """
    fn = unbound(fn)[0]
    if not isinstance(fn, Function):
        raise TypeError(f"explain needs a function made by hybrid.function, not {fn!r:.60}")
    versions, states = fn.versions(), list(fn._signatures.everything())
    code = getattr(fn.fn, "__code__", None)
    names = () if code is None else code.co_varnames[: code.co_argcount]
    signatures = [*list(fn._signatures.older), *list(fn._signatures)]
    changes = [change for state in states for change in state.changes]
    changes += _differences([parts(signature, names) for signature in signatures])
    title = fn.explain().partition("\n")[0]
    return Explanation(title, _annotated(fn, states), versions, changes)


def _differences(signatures: list[list[str]]) -> Iterator[str]:
    """What differs between each signature and the one before."""
    for before, after in zip(signatures, signatures[1:]):
        if len(before) != len(after):
            yield f"{', '.join(before)} -> {', '.join(after)}"
        else:
            yield ", ".join([f"{a} -> {b}" for a, b in zip(before, after) if a != b])


def _annotated(fn: Function, states: list[SignatureState]) -> list[SourceLine]:
    """The lines of the source; none where it cannot be read."""
    try:
        source, first = inspect.getsourcelines(fn.fn)
        file = inspect.getsourcefile(fn.fn) or ""
    except (OSError, TypeError):
        return []
    name = getattr(getattr(inspect.unwrap(fn.fn), "__code__", None), "co_name", "")
    if name.isidentifier() and f"def {name}" not in "".join(source):
        return []  # of CPython 3.13 the program of `python -c`, for all that `exec` made
    first = max(first, 1)
    last = first + len(source) - 1
    native: dict[int, dict[str, None]] = {}
    for state in states:
        for plan in state.plans:
            for node in plan.recording.graph.nodes:
                if node.site is not None and node.site.file == file:
                    native.setdefault(node.site.line, {})[node.op.name] = None
    commit, border = _commits(source, first, states), _borders(os.path.basename(file), states)
    lines = []
    for number in range(first, last + 1):
        text = source[number - first].rstrip("\n")
        ops = "computes " + ", ".join(native[number]) if number in native else ""
        notes = [border.get(number, ""), commit.get(number, ""), ops]
        marks = [mark for mark, note in zip(("border", "commit", "native"), notes) if note]
        note = "; ".join(filter(None, notes))
        lines.append(SourceLine(number, marks[0] if marks else "", text, note))
    return lines


def _borders(file: str, states: list[SignatureState]) -> dict[int, str]:
    """Line -> why Python runs there."""
    found: dict[int, str] = {}
    for state in states:
        if state.state not in ("DEFERRED", "EAGER") and not state.sealed:
            continue
        for reason in state.reasons or (state.why,):
            path, _, line = line_of(reason).rpartition(":")
            if line and os.path.basename(path) == file:
                found.setdefault(int(line), f"it {reason.partition(' (')[0]}")
    return found


def _commits(source: list[str], first: int, states: list[SignatureState]) -> dict[int, str]:
    """Line -> what a replay does at its end in the place of this line."""
    stored: dict[Any, str] = {}
    for state in states:
        for plan in state.plans:
            recording = plan.recording
            for store in recording.outcome.stores:
                holder = recording.facts.holders[store.key].get()
                stored[store.key.key] = f"stores a tensor in {describe(store.key, holder)}"
            for number in recording.outcome.actions.numbers:
                stored[number.key.key] = f"sets {describe(number.key, number.holder.get())}"
            for grown in recording.outcome.actions.grown:
                stored[grown.method] = f"{grown.method} of a {grown.type.__name__}"
    found = _made_again(states)
    if not stored:
        return found
    try:
        tree = ast.parse(textwrap.dedent("".join(source)))
    except SyntaxError:  # a lambda inside of a longer statement
        return found
    for line, name in _stores(tree):
        if name in stored:
            found.setdefault(line + first - 1, f"{stored[name]} at the end of a replay")
    return found


def _made_again(states: list[SignatureState]) -> dict[int, str]:
    """Line -> which function of Python's own world a replay calls in its place."""
    found: dict[int, str] = {}
    for state in states:
        for plan in state.plans:
            actions = plan.recording.outcome.actions
            for name, _, line in [call.mark[1:] for call in actions.told]:
                found[line] = f"calls {name} at the end of a replay"
            for name, _, line in [call.mark[1:] for call in actions.first]:
                found[line] = f"calls {name} before the operations of a replay"
    return found


def _stores(tree: ast.AST) -> Iterator[tuple[int, Any]]:
    """(line, name, key or method) of what a source stores or calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            key = node.slice.value if isinstance(node.slice, ast.Constant) else None
            deletes = isinstance(node.ctx, ast.Del)
            yield node.lineno, key
            yield node.lineno, "delete" if deletes else "set"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.lineno, node.func.attr
