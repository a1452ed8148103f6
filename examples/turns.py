"""What the examples share: a decorated function and its plain form called in turns.

Each turn compares the bits of both results, so an example that ends has shown that they agree.
"""

import time
from statistics import median

import numpy as np

import hybrid


def bits(value):
    """A value that is equal for results with the same bits."""
    if isinstance(value, hybrid.Tensor):
        return str(value.dtype), value.shape, value.numpy().tobytes()
    if isinstance(value, (list, tuple)):
        return [bits(part) for part in value]
    return np.asarray(value).tobytes()


class Turns:
    """Calls `function` and `function.fn`, the function without its decorator, and times both."""

    def __init__(self, function):
        self.function = function
        self.seconds = {"eager": [], "traced": []}

    def __call__(self, *arguments, twins=None):
        """The decorated result; `twins`, where given, are the arguments of the plain call."""
        calls = {
            "traced": (self.function, arguments),
            "eager": (self.function.fn, arguments if twins is None else twins),
        }
        order = ["traced", "eager"]
        if len(self.seconds["eager"]) % 2:
            order.reverse()
        results = {}
        for mode in order:
            call, given = calls[mode]
            start = time.perf_counter()
            results[mode] = call(*given)
            self.seconds[mode].append(time.perf_counter() - start)
        assert bits(results["traced"]) == bits(results["eager"]), "eager and traced differ"
        return results["traced"]

    def report(self):
        """Prints both times, and how the calls were served."""
        settled = len(self.seconds["eager"]) // 2  # the first calls record and compile
        eager, traced = (median(self.seconds[m][settled:]) * 1e6 for m in ("eager", "traced"))
        name = self.function.fn.__name__
        print(f"{name}: eager {eager:.0f} us, traced {traced:.0f} us a call, the same bits")
        for version in self.function.versions():
            print(f"  {version.state}, {version.calls} calls ({version.signature})")
            if version.reason and version.state != "native":
                print(f"    because {version.reason}")
