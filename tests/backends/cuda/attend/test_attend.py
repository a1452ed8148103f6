"""Attention for the card, run by the PTX interpreter: the bits of the CPU, in every shape."""

import itertools

import numpy as np
import pytest
from emit_harness import run_generated
from gpu import check, to_ptx

from hybrid.backends.attend import attend_kernel
from hybrid.backends.cpu.attend import generate as on_cpu
from hybrid.backends.cuda import attend as room
from hybrid.backends.cuda.attend import generate
from hybrid.backends.cuda.executable import waits_of
from hybrid.backends.cuda.function import STATUS, Card
from hybrid.core import dtypes as dt
from hybrid.core.aval import aval
from hybrid.core.shapes import contiguous_strides
from hybrid.ops.products.attend import ATTENTION, ATTENTION_GRAD

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, 3e38]


def values(rng, shape, dtype, special=0.0):
    found = rng.standard_normal(shape).astype(dtype)
    hit = rng.random(shape) < special
    return np.where(hit, rng.choice(np.array(SPECIAL, dtype), shape), found).astype(dtype)


class Case:
    """Operands of one call and its kernel."""

    def __init__(self, batch, m, n, e, f, backward=False, dtype=dt.float32, **options):
        rng, special = np.random.default_rng(3), options.get("special", 0.0)
        mask, causal = options.get("mask"), options.get("causal", False)

        def draw(*shape):
            return values(rng, (*batch, *shape), dtype, special)

        inputs = [draw(m, e), draw(n, e), draw(n, f)]
        if backward:
            inputs = [draw(m, f), *inputs, draw(m), np.abs(draw(m)), draw(m)]
        if mask is dt.bool_:
            inputs.append(rng.random((*batch, m, n)) > 0.4)
        elif mask is not None:
            inputs.append(draw(m, n))
        if options.get("factor"):
            inputs.append(draw(m, n))
        inputs = options.get("change", lambda given: given)(inputs)
        params = {"scale": 0.25, "causal": causal, "masked": mask is not None}
        record = ATTENTION_GRAD if backward else ATTENTION
        avals = [aval(x.shape, x.dtype) for x in inputs]
        outs = record.infer(*avals, **params)
        results = [np.full(a.shape, 7, a.dtype) for a in outs]
        self.buffers = [*map(base_of, inputs), *results]
        places = [(i, place_of(x, self.buffers[i])) for i, x in enumerate([*inputs, *results])]
        self.kernel = attend_kernel(record, params, [*avals, *outs], places)

    def check(self, orders=(0,), **options):
        check(self.kernel, self.buffers, generate, orders, run_on_cpu, **options)


def base_of(array):
    return array if array.base is None else array.base


def place_of(array, base):
    """(offset, strides) of a view in its base, in elements."""
    size = array.itemsize
    if not array.size:
        return 0, contiguous_strides(array.shape)
    start = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    return start // size, tuple(s // size for s in array.strides)


def run_on_cpu(kernel, buffers):
    for function in on_cpu(kernel):
        run_generated(function, [*buffers, np.zeros(64)])
    return 0


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64])
def test_small_shapes_have_the_cpus_bits(backward, dtype):
    Case((2,), 5, 7, 3, 4, backward, dtype).check((0, 1))
    Case((), 64, 64, 8, 64, backward, dtype, causal=True).check()
    Case((), 40, 270, 2, 3, backward, dtype, mask=dt.bool_, factor=True).check()
    Case((2, 1), 33, 9, 17, 5, backward, dtype, mask=dtype, causal=True).check()


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("sizes", [(0, 3, 5, 7), (3, 0, 5, 7), (3, 40, 0, 0), (0, 0, 1, 1)])
def test_empty_sizes(backward, sizes):
    Case((2,), *sizes, backward, causal=True).check()
    Case((0,), *sizes, backward).check()


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("rows", [2, 4, 8])
def test_tiles_of_every_height(backward, rows, monkeypatch):
    """A tile smaller than what the causal mask cuts by takes the same pairs."""
    monkeypatch.setattr(room, "_rows", lambda *_: rows)
    for few in (0, 2):
        monkeypatch.setattr(room, "_FEW", few)
        Case((), 130, 270, 5, 9, backward, causal=True, special=0.02).check()
        Case((), 300, 70, 9, 8, backward, causal=True).check()


@pytest.mark.parametrize("backward", [False, True])
def test_columns_past_one_block_of_threads(backward):
    Case((2,), 70, 60, 70, 130, backward).check()


@pytest.mark.parametrize("backward", [False, True])
def test_special_values_and_zeros_of_both_signs(backward):
    Case((), 80, 300, 5, 6, backward, mask=dt.float32, factor=True, special=0.03).check()

    def zeros(inputs):
        rng = np.random.default_rng(0)
        for x in inputs[backward : backward + 2]:
            x[rng.random(x.shape) < 0.9] *= 0.0
        return inputs

    Case((2,), 40, 270, 2, 3, backward, change=zeros).check()


@pytest.mark.parametrize("backward", [False, True])
def test_strides_offsets_and_broadcasting(backward):
    def views(inputs):
        found = []
        for x in inputs:
            wide = np.zeros((*x.shape[:-1], x.shape[-1] + 3), x.dtype)
            wide[..., 1:-2] = x
            found.append(wide[..., 1:-2])
        found[1 if backward else 0] = found[1 if backward else 0][..., ::-1, :]
        if not backward:
            found[2] = found[2][:1]
        return found

    Case((3,), 20, 40, 6, 8, backward, mask=dt.float32, change=views).check()


def test_gpt_shape():
    Case((1,), 256, 256, 64, 64, causal=True).check()
    Case((1,), 128, 128, 64, 64, True, causal=True).check()


def test_guarded_kernels_begin_with_the_status_word():
    case = Case((), 5, 7, 3, 4)
    (plain,) = generate(case.kernel, Card(), 99)
    (guarded,) = generate(case.kernel, Card(), 99, guarded=True)
    statuses = [sum(f.words[p] == STATUS for p in f.slots) for f in (plain, guarded)]
    assert statuses == [0, 1]
    case.check(guarded=True)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_nothing_is_contracted_approximated_or_flushed(arch):
    for backward, dtype in itertools.product((False, True), (dt.float32, dt.float64)):
        for function in generate(Case((), 64, 64, 64, 64, backward, dtype).kernel, Card(), 99):
            ptx = to_ptx(function.text, arch)
            assert not any(word in ptx for word in (".approx", ".ftz", ".extern .func", "mad.rn"))


def test_one_text_serves_all_sizes():
    """Sizes that differ in no remainder differ in words alone."""
    one, other = (Case((2,), m, n, 64, 64, causal=True) for m, n in ((256, 512), (512, 768)))
    first, second = (generate(c.kernel, Card(), 99)[0] for c in (one, other))
    assert first.symbol == second.symbol and first.words != second.words


def test_both_gradients_run_side_by_side():
    """Neither needs the other; what follows waits for both."""
    keys, queries = generate(Case((), 64, 64, 8, 8, True).kernel, Card(), 99)
    assert [keys.beside, queries.beside] == [False, True]
    alone = keys._replace(symbol="another")
    assert waits_of([[alone], [keys, queries, alone, alone]]) == [[], [], [], [1, 2], [3]]
