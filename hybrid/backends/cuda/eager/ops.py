"""Eager kernels of a CUDA device: one callable per op, parameters and input avals.

Invariant: a call starts kernels that are made from the same programs in the same order of
operations as those of a plan, and waits for nothing; an index that is out of range is reported
where the host waits next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ....core.aval import Aval
from ....core.cache import keep
from ....core.errors import UnsupportedError
from ....core.shapes import contiguous_strides
from ....core.sites import user_site
from ....core.switches import SWITCHES
from ....ir.algorithm import Control
from ....ir.door.bind import aside
from ....ir.door.evaluate import evaluate_eager
from ....ir.graph.region import Region, graph_on, regions_in
from ....ir.op import Op, algorithm_of
from ...cpu.eager.views import Arrays, view
from ...cpu.python.method import words_array
from ...op_kernels import OpKernels, check_failure, kernels_of, zero_kernel
from ...plan import Access, Kernel
from ..algorithms import has_kernels
from ..array import DeviceArray, empty
from ..control.driven import DrivenControl
from ..copies import contiguous
from ..function import CODE_SHIFT
from ..launch.caller import Fallback, FreshResult, make_caller
from ..launch.prepare import prepare
from ..launch.refused import RefusedLaunch
from ..machine.blocks import functions_of
from ..machine.devices import DeviceState, device_state
from ..stepwise import Stepwise, with_library

__all__ = ["eager"]

_STRIDES_LIMIT = 64
_CHAINED = 4

Call = Callable[..., Any]
Ints = tuple[int, ...]
Avals = tuple[Aval, ...]


def eager(op: Op, params: dict[str, Any], inputs: Sequence[Aval], outputs: Sequence[Aval]) -> Call:
    """The function (*arrays) -> array, or tuple of arrays when the op has several outputs."""
    ins, outs = tuple(inputs), tuple(outputs)
    if op.kind == "host" and not has_kernels(algorithm_of(op, params)):
        raise UnsupportedError(
            f"{op.name} is computed by the host's libraries, not on {outs[0].device}; give it "
            "tensors on the host (.cpu()) and move the result back"
        )
    state = device_state(outs[0].device.index)
    regions = regions_in(params)
    if regions:
        return _control(op, params, regions, outs, state)
    if op.kind == "view":
        return view(op, params, ins, outs, Arrays(functions_of(DeviceArray), empty, contiguous))
    return DeviceOp(kernels_of(op, params, ins, outs), state).caller()


def _control(
    op: Op, params: dict[str, Any], regions: Sequence[Region], outs: Avals, state: DeviceState
) -> Call:
    """A branch or loop: its graphs run node by node, as eager code does."""
    graphs = [graph_on(region.graph, outs[0].device) for region in regions]
    runs = [partial(evaluate_eager, graph) for graph in graphs]
    algorithm = algorithm_of(op, params)
    assert isinstance(algorithm, Control)
    driven = DrivenControl(algorithm, runs, outs, state)

    def call(*arrays: np.ndarray) -> Any:
        results = aside(driven, arrays)
        return results[0] if len(results) == 1 else tuple(results)

    return call


class DeviceOp:
    """An op as kernels over (inputs, outputs): callers for given strides of the inputs."""

    def __init__(self, source: OpKernels, state: DeviceState) -> None:
        self.source, self.state = source, state
        self.table: dict[Any, Call] = {}
        self.fallback = Fallback(self.strided)
        self.code = words_array([0])  # which check failed, if one does
        self.chained = 0  # native functions before `strided`

    def caller(self) -> Call:
        """The function for every call; arguments with other strides take `strided`."""
        strides = [contiguous_strides(a.shape) for a in self.source.ins]
        made, checks = self._made(strides, None)
        if not checks:
            return made
        op, params, state = self.source.op, self.source.params, self.state
        status, code = state.status, self.code
        message = str(check_failure(op, params, self.source.ins))

        def checked(*arrays: np.ndarray) -> Any:
            code[0] = status.code(message, user_site()) << CODE_SHIFT
            result = made(*arrays)
            if SWITCHES.wait:
                state.wait()
            return result

        return checked

    def strided(self, *arrays: np.ndarray) -> Any:
        """A call whose inputs are not all contiguous."""
        strides = tuple([x.strides for x in arrays])
        call = self.table.get(strides)
        if call is None:
            call = keep(self.table, strides, self._for_strides(strides), _STRIDES_LIMIT)
        return call(*arrays)

    def _for_strides(self, given: Sequence[Ints]) -> Call:
        """The call for inputs with these strides in bytes; those that kernels cannot walk are
        copied first."""
        ins = self.source.ins
        if len(given) != len(ins):
            raise TypeError(f"{self.source.op.name} takes {len(ins)} arrays, not {len(given)}")
        copied = [self.source.straight(i, a.shape, s) for i, (a, s) in enumerate(zip(ins, given))]
        steps = [
            contiguous_strides(a.shape) if copy else tuple(n // a.dtype.itemsize for n in s)
            for a, s, copy in zip(ins, given, copied)
        ]
        if not any(copied):
            return self._native(given, steps)
        made = self._made(steps, ())[0]
        return lambda *arrays: made(
            *[contiguous(x) if copy else x for x, copy in zip(arrays, copied)]
        )

    def _native(self, given: Sequence[Ints], steps: Sequence[Ints]) -> Call:
        """The function for inputs with these strides, which native calls find from now on."""
        made = self._made(steps, given)[0]
        if self.chained < _CHAINED and not isinstance(made, Stepwise):
            self.chained += 1
            self.fallback.put(made)
        return made

    def _kernels(self, strides: Sequence[Ints]) -> list[Kernel]:
        source = self.source
        kernels = source.kernels(strides)
        if source.op.kind != "scatter":
            return kernels
        out = source.outs[0]
        whole = Access(len(source.ins), out.dtype, 0, contiguous_strides(out.shape))
        return [zero_kernel(out.shape, whole), *kernels]

    def _made(self, strides: Sequence[Ints], given: Sequence[Ints] | None) -> tuple[Call, bool]:
        """(the native function for inputs with these strides, whether it checks indices).

        `given`: those strides in bytes, which the function asks for, as others go on to what was
        the fallback before it; (): it asks for nothing; None: inputs must be contiguous."""
        source, state = self.source, self.state
        count, kernels = len(source.ins), self._kernels(strides)
        shared = with_library(kernels, state, count + len(source.outs))
        if shared is not None:
            fallback = self.strided if given is None else None
            return Stepwise(shared, state, source.outs, fallback), False
        ready = prepare(kernels, state, count + len(source.outs), source.before)
        pool = state.pool
        made = make_caller(
            ready.starts,
            count,
            [FreshResult(a, pool.source_of(a.nbytes)) for a in source.outs],
            state.record,
            DeviceArray,
            temp=pool.source_of(ready.temp) if ready.temp else None,
            contiguous=given is None,
            strides=given or None,
            fallback=self.fallback if given is None else Fallback(self.fallback.call),
            refused=RefusedLaunch(source.op.name, state, lambda *arrays: again[0](*arrays)),
            code=self.code,
            keep=ready.kept,
        )
        again = [made]
        return made, ready.checks
