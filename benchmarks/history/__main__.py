"""The picture of a history, drawn again: `python -m benchmarks.history [FILE] [--out PICTURE]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .draw import draw
from .store import read

FILE = Path(__file__).parents[1] / "results" / "history.jsonl"


def main(argv: list[str] | None = None) -> int:
    """Command line entry; 1 when lines were skipped or nothing could be drawn."""
    parser = argparse.ArgumentParser(prog="benchmarks.history", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=FILE)
    parser.add_argument("--out", type=Path, help="the picture (default: beside the file, .png)")
    options = parser.parse_args(argv)
    if not options.file.is_file():
        parser.error(f"{options.file} is no file")
    try:
        entries, problems = read(options.file)
        picture = options.out or options.file.with_suffix(".png")
        drawn = draw(entries, picture)
    except OSError as problem:
        parser.error(str(problem))
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
    print(f"{len(entries)} runs; {picture if drawn else 'no ratio to a peer: nothing drawn'}")
    return int(bool(problems) or not drawn)


if __name__ == "__main__":
    sys.exit(main())
