"""Replays node by node with the kernels of eager mode: what native replays are compared with."""

from hybrid.backends.interpret import graph_runner
from hybrid.ir.door.busy import values_of


class ReferenceExecutor:
    """Takes the place of the executor that compiles (`set_executor`)."""

    def prepare(self, recording):
        run = graph_runner(recording.graph)
        return lambda inputs: run(values_of(inputs))
