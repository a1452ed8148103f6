"""Command line: `python -m hybrid demo` and `python -m hybrid info`.

Invariant: no optional package is imported before a command asks for it.
"""

from __future__ import annotations

import argparse
import sys

from . import describe_system
from .demo.run import run_demo


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="hybrid", description="Eager arrays whose functions run as native code."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="train a CNN and an MLP on handwritten digits, both ways"
    )
    demo.add_argument("--epochs", type=int, default=30, help="passes over the images (default 30)")
    demo.add_argument("--batch", type=int, default=64, help="images per step (default 64)")
    demo.add_argument(
        "--seed", type=int, default=0, help="seed of weights and batch order (default 0)"
    )
    demo.add_argument("--out", default="report.html", help="the HTML report (default report.html)")
    demo.add_argument("--device", default="cpu", help="where to train, such as cuda (default cpu)")
    commands.add_parser("info", help="print versions, CPU and thread count")
    args = parser.parse_args(argv)
    if args.command == "info":
        print(describe_system())
        return 0
    return run_demo(args.epochs, args.batch, args.seed, args.out, args.device)


if __name__ == "__main__":
    sys.exit(main())
