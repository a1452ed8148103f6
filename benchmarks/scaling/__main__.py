"""How training steps scale: `python -m benchmarks.scaling [--only gpt,cnn] [--threads 32,64]`.

Measures the machine and, on one thread, every kernel of each step; predicts the step on one thread
and on all, runs both, and says how far off it was.  Then the same model for more threads than there
are, with the pieces that the compiler would cut for them, and where it stops scaling.  Memory and
the cost of a barrier's level are taken from this machine: other machines differ.
"""

from __future__ import annotations

import argparse

from ..sizes import TRAINING
from .measure import MORE, Scaled, measure_machine, scaled
from .model import Machine, Prediction


def describe(machine: Machine) -> str:
    """The machine's terms, one a line."""
    lines = [
        f"{machine.cores} cores, {machine.flops[0] / 1e9:.0f} GFLOP/s for one, "
        f"{machine.flops[1] / 1e9:.0f} for all"
    ]
    lines += [
        f"copies of {span >> 10} KiB for a core: {one / 1e9:.1f} GB/s for one, "
        f"{every / 1e9:.1f} for all"
        for span, one, every in machine.traffic
    ]
    waits = ", ".join(f"{1e6 * s:.2f} us for {t}" for t, s in machine.barriers.items())
    return "\n".join(
        [*lines, f"barrier {waits}", f"call beside kernels {1e6 * machine.call:.1f} us"]
    )


def _row(prediction: Prediction, first: float, measured: float | None) -> str:
    terms = " ".join(f"{1e6 * term:9.0f}" for term in prediction[1:])
    text = f"{prediction.threads:7} {1e6 * prediction.seconds:10.0f} {terms}"
    text += f" {first / prediction.seconds:8.2f}"
    if measured is not None:
        text += f" {measured:9.0f} {1e6 * prediction.seconds / measured - 1:+8.1%}"
    return text


def report(workload: str, made: Scaled) -> str:
    """Predictions of one workload, beside what was measured."""
    lines = [
        f"{workload}: {len(made.kernels)} kernels, bound on all cores {1e6 * made.bound:.0f} us",
        "threads  predicted      call    single    shared    uneven    memory  barriers"
        "    times  measured   error",
    ]
    first = made.points[0].prediction.seconds
    lines += [_row(point.prediction, first, point.measured) for point in made.points]
    if made.stopped:
        lines.append(f"        stops scaling: {_largest(made.points[-1].prediction)}")
    return "\n".join(lines)


def _largest(prediction: Prediction) -> str:
    terms = prediction._asdict()
    name = max((k for k in terms if k != "threads"), key=lambda k: terms[k])
    return f"{terms[name] / prediction.seconds:.0%} of the time is {name!r}"


def main(argv: list[str] | None = None) -> None:
    """Print the machine, then each workload."""
    parser = argparse.ArgumentParser(prog="benchmarks.scaling", description=__doc__)
    parser.add_argument(
        "--only", default=",".join(TRAINING), help="training steps, comma separated"
    )
    parser.add_argument(
        "--threads", default=",".join(map(str, MORE)), help="threads beyond the cores"
    )
    args = parser.parse_args(argv)
    works = args.only.split(",")
    unknown = [name for name in works if name not in TRAINING]
    if unknown:
        parser.error(f"unknown steps {', '.join(unknown)}; choose from {', '.join(TRAINING)}")
    from tqdm import tqdm

    machine = measure_machine()
    print(describe(machine))
    more = [int(text) for text in args.threads.split(",") if text]
    with tqdm(works, unit="step") as progress:
        for workload in progress:
            found = scaled(workload, machine, [t for t in more if t > machine.cores])
            progress.write(report(workload, found))


if __name__ == "__main__":
    main()
