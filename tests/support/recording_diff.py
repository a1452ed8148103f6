"""Whether two checkouts see the same in recorded calls: `python tests/support/recording_diff.py OTHER`.

OTHER is a folder with another checkout.  Each runs this checkout's adversarial programs and a few
of the benchmarks' steps in a process of its own and writes what every recording holds: its facts
with the lines that read them, operations, results, writes and gradients, or its reasons.
Invariant: nothing in a description depends on addresses.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]
# addresses, and which of several lines that read a place is named: it depends on addresses
ADDRESS = re.compile(r"0x[0-9a-f]{6,}|\b\d{12,}\b|(?<=\.py:)\d+")
WORKLOADS = ("toy", "mlp_small", "lstm", "gpt")


def described(recording: Any) -> list[str]:
    """A recording in lines, without addresses."""
    from hybrid.trace.record.recording import Refused
    from hybrid.trace.record.wording import Wording, show

    if isinstance(recording, Refused):
        return sorted(ADDRESS.sub("0x", f"refused: {reason}") for reason in recording.reasons)
    facts = recording.facts
    wording = Wording(facts)
    found = [
        f"{key.kind} {wording.place(key)}: {show(wanted)}" for key, wanted in facts.expected.items()
    ]
    found = [ADDRESS.sub("0x", line) for line in found]
    operations, outcome, numbers, gradients = recording.fingerprint
    steps = [f"{op.name} {params} {inputs} {avals}" for op, params, inputs, avals in operations]
    ends = [
        f"{len(recording.inputs)} inputs, {recording.arguments} arguments, {numbers}, {gradients}",
        f"writes {recording.outcome.writes}, tape {recording.tape is not None}",
        f"{recording.handles_errors} {recording.lost} {recording.settled} {len(facts.starts)}",
        f"{len(outcome)} parts",
    ]
    return [ADDRESS.sub("0x", line) for line in sorted(found) + steps + ends]


def cases() -> dict[str, Any]:
    """All adversarial programs, by name."""
    import adversary

    found = {}
    for module in pkgutil.walk_packages(adversary.__path__, "adversary."):
        table = getattr(importlib.import_module(module.name), "CASES", {})
        found.update({f"{module.name}.{name}": case for name, case in table.items()})
    return found


def collect() -> dict[str, list[str]]:
    """What is recorded, by program and number of the recording."""
    from adversary import common

    import hybrid.decorator as decorator
    from benchmarks.workloads import build

    seen: dict[str, list[str]] = {}
    name, make = "", decorator.recording_of

    def noted(*arguments: Any) -> Any:
        recording = make(*arguments)
        seen[f"{name} {sum(key.startswith(name + ' ') for key in seen)}"] = described(recording)
        return recording

    # as code of hybrid: what is recorded must not see it
    decorator.recording_of = noted
    warnings.simplefilter("ignore")
    for name, case in cases().items():
        common.run(case, decorator.function)
    for name in WORKLOADS:
        step = build(name, True)
        for _ in range(3):
            step()
    return seen


def compare(ours: dict[str, list[str]], theirs: dict[str, list[str]]) -> int:
    """Print what differs; how many recordings do."""
    different = 0
    for name in sorted({*ours, *theirs}):
        first, second = theirs.get(name, ["nothing"]), ours.get(name, ["nothing"])
        if first != second:
            different += 1
            print(f"== {name}")
            print("\n".join(list(difflib.unified_diff(first, second, "other", "here", n=0))[:30]))
    print(f"{len(ours)} recordings, {different} differ")
    return different


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", nargs="?")
    parser.add_argument("--write", metavar="FILE")
    options = parser.parse_args()
    if options.write:
        Path(options.write).write_text(json.dumps(collect()))
        return 0
    results = []
    for checkout in HERE, Path(options.other).resolve():
        file = Path(os.environ.get("TMPDIR", "/tmp")) / f"recordings-{os.getpid()}.json"
        support = HERE / "tests" / "support"
        paths = os.pathsep.join(map(str, [checkout, HERE, support]))
        command = [sys.executable, __file__, "--write", str(file)]
        subprocess.run(
            command,
            check=True,
            env=os.environ | {"PYTHONPATH": paths, "PYTHONHASHSEED": "0"},
            cwd=checkout,
        )
        results.append(json.loads(file.read_text()))
        file.unlink()
    return 1 if compare(*results) else 0


if __name__ == "__main__":
    sys.exit(main())
