"""An orbit by the method of Dormand and Prince, whose steps are as long as the error allows.

A step is tried, its error estimated, and the step accepted or tried again shorter: two branches and
a loop on values of tensors.  The answer is compared with Kepler's.
Run: python examples/adaptive_ode.py [--quick]
"""

import argparse

import numpy as np
from tqdm import tqdm
from turns import Turns

import hybrid

A = [
    [],
    [1 / 5],
    [3 / 40, 9 / 40],
    [44 / 45, -56 / 15, 32 / 9],
    [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
    [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
    [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
]
ERROR = [71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40]


def gravity(state):
    """The rate of change of a body's place and velocity."""
    place, velocity = state[:2], state[2:]
    return hybrid.concat([velocity, -place / (place * place).sum() ** 1.5])


def weighted(slopes, weights):
    """The sum of slopes times their weights, without those that count nothing."""
    return sum(slope * weight for slope, weight in zip(slopes, weights, strict=True) if weight)


@hybrid.function
def integrate(state, end, tolerance):
    """The state at time `end`, and how many steps were accepted and tried again."""
    time, step = hybrid.zeros_like(end), end / 100
    slope, accepted, rejected = gravity(state), 0, 0
    while time < end:
        step = hybrid.minimum(step, end - time)
        slopes = [slope]
        for row in A[1:]:
            proposal = state + step * weighted(slopes, row)
            slopes.append(gravity(proposal))
        scale = tolerance * (1 + hybrid.maximum(abs(state), abs(proposal)))
        error = ((step * weighted(slopes, ERROR) / scale) ** 2).mean().sqrt()
        if error <= 1:
            time, state, slope = time + step, proposal, slopes[-1]
            accepted += 1
        else:
            rejected += 1
        step = step * hybrid.clip(0.9 * (error + 1e-10) ** -0.2, 0.2, 5.0)
    return state, accepted, rejected


def kepler(eccentricity, time):
    """The exact place and velocity on an ellipse of half-axis 1, from its nearest point on."""
    anomaly = time
    for _ in range(50):
        wrong = anomaly - eccentricity * np.sin(anomaly) - time
        anomaly -= wrong / (1 - eccentricity * np.cos(anomaly))
    short, rate = np.sqrt(1 - eccentricity**2), 1 / (1 - eccentricity * np.cos(anomaly))
    sine, cosine = np.sin(anomaly), np.cos(anomaly)
    return np.array([cosine - eccentricity, short * sine, -sine * rate, short * cosine * rate])


def main(ends):
    turns, worst = Turns(integrate), 0.0
    tolerance = hybrid.tensor(1e-8, dtype=hybrid.float64)
    for number, end in enumerate(tqdm(ends, desc="orbits")):
        eccentricity = 0.2 + 0.5 * number / len(ends)
        start = hybrid.tensor(kepler(eccentricity, 0.0))
        state, accepted, rejected = turns(start, hybrid.tensor(end), tolerance)
        worst = max(worst, np.abs(state.numpy() - kepler(eccentricity, end)).max())
    turns.report()
    print(f"the last took {accepted} steps and {rejected} that were tried again")
    print(f"largest error against the exact orbits: {worst:.1e}")
    assert worst < 1e-5 and rejected


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few short orbits only")
    quick = parser.parse_args().quick
    main(np.linspace(2.0, 3.0, 6) if quick else np.linspace(5.0, 9.0, 24))
