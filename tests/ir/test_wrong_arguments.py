"""Wrong arguments to every public function: a clear error, never a crash, a hang or the inside.

HYBRID_CALLS sets how many calls are tried (20,000 for a full run: about two minutes).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import fuzz_arguments
import numpy as np
import pytest

import hybrid as hb
from hybrid import nn, optim

COUNT = int(os.environ.get("HYBRID_CALLS", "1500"))
CHUNK = 2500
SCRIPT = Path(__file__).with_name("fuzz_arguments.py")


@pytest.mark.parametrize("start", range(0, COUNT, CHUNK))
def test_wrong_arguments(start, tmp_path):
    """In a process of its own: limited memory, an alarm for each call, the exit code tells."""
    log, count = tmp_path / "call", min(CHUNK, COUNT - start)
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(SCRIPT.parent), *sys.path])}
    command = [sys.executable, "-W", "error", str(SCRIPT), str(start), str(count), str(log)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, (
        f"call {log.read_text().strip()} ended the process with {done.returncode} "
        f"(-14: it hung)\n{done.stderr[-2000:]}"
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1:] == ["done"] and not lines[:-1], "\n".join(map(str, lines[:20]))


def test_the_surface_is_whole():
    names = {name for name, _, _ in fuzz_arguments.surface()}
    assert len(names) > 450
    for name in (
        "einsum", "sum", "F.softmax", "random.normal", "nn.Linear", "optim.Adam", "Tensor.reshape",
        "Tensor.__getitem__", "Tensor.__add__", "Generator.set_state", "Module.load_state_dict",
        "grad", "vjp", "function", "compare", "profile", "no_grad", "tensor", "asarray",
    ):  # fmt: skip
        assert name in names, name


X = hb.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
MESSAGES = [
    (lambda: nn.Parameter(X, np.ones(2)), TypeError, "Parameter: requires_grad is an array"),
    (lambda: X.__round__(NotImplemented), TypeError, "round: decimals"),
    (lambda: nn.ReLU(np.ones(2)), ValueError, "ReLU: inplace is an array.*True or False"),
    (lambda: nn.Dropout(0.5, np.ones(2)), ValueError, "Dropout: inplace .*True or False"),
    (lambda: hb.nextafter(hb.ones(2), hb.ones(3)), ValueError, "nextafter: shapes .* broadcast"),
    (lambda: hb.einsum(X, X), TypeError, "einsum: a tensor is in the place of a list of labels"),
    (lambda: hb.custom_jvp(len, len), ValueError, "nondiff_argnums is .*a list or a tuple"),
    (lambda: hb.einsum(), TypeError, "einsum.* missing a required argument: 'spec'"),
    (lambda: hb.rand(3, generator=3), TypeError, "generator is 3: it takes a hybrid.Generator"),
    (lambda: hb.dropout(X, generator="a"), TypeError, "generator is 'a'.*hybrid.Generator"),
    (lambda: hb.random.normal(0, 1, 3, generator=np.random), TypeError, "hybrid.Generator"),
    (lambda: X[["a"]], TypeError, "an index is made of integers"),
    (lambda: X[{"a": 1}], TypeError, "an index is made of integers"),
    (lambda: X[1.5], TypeError, "an index is made of integers"),
    (lambda: X[[[1, 2], [3]]], TypeError, "an index is made of integers"),
    (lambda: X["a":2], TypeError, "a bound of a slice is 'a'"),
    (lambda: X[::0], ValueError, "the step of a slice is 0"),
    (lambda: X.sum("a"), TypeError, "axis is 'a'"),
    (lambda: X.sum(axis=(0, 0)), ValueError, "repeats"),
    (lambda: X.sum(axis=1.0), TypeError, "axis is 1.0"),
    (lambda: hb.concat(3), TypeError, "concat: xs is 3"),
    (lambda: hb.concat("ab"), TypeError, "concat: xs is 'ab'"),
    (lambda: hb.zeros("a"), TypeError, "a shape is 'a'"),
    (lambda: hb.zeros({"a": 1}), TypeError, "a shape is of type dict"),
    (lambda: hb.zeros(3, dtype="cpu"), TypeError, "a device: pass device="),
    (lambda: hb.zeros(3, device=3), RuntimeError, "a device is a name"),
    (lambda: X + "a", TypeError, "no array of numbers"),
    (lambda: X @ None, TypeError, "None"),
    (lambda: hb.asarray([[1, 2], [3]]), ValueError, "do not have one shape"),
    (lambda: hb.asarray(np.zeros(2, "M8[s]")), TypeError, "datetime64"),
    (lambda: nn.Linear("a", 2), TypeError, "Linear: in_features is 'a': it takes an int"),
    (lambda: nn.Sequential(3), TypeError | hb.HybridError, "Sequential takes modules"),
    (lambda: optim.Adam([X], lr="a"), TypeError, "Adam: lr is 'a': it takes a number"),
    (lambda: optim.Adam(3), hb.HybridError, "takes a list of tensors"),
    (lambda: hb.grad(3), TypeError, "grad: fn is 3: it takes a function"),
    (lambda: hb.grad(abs, argnums="a"), TypeError, "argnums is 'a'"),
    (lambda: hb.grad(abs, argnums=1)(X), TypeError, "argnums is 1, the call has 1"),
    (lambda: hb.grad(hb.sum, has_aux=True)(X), TypeError, r"return \(value, aux\)"),
    (lambda: hb.custom_gradient(hb.sum)(X), TypeError, r"return \(output, pull\)"),
    (lambda: setattr(optim.SGD([X], 0.1), "lr", "a"), TypeError, "no array of numbers"),
    (lambda: optim.SGD([{"lr": 0.1}]), TypeError, 'list of tensors under "params"'),
    (lambda: hb.function(3), hb.HybridError | TypeError, "function"),
    (lambda: X.reshape("a"), TypeError, "reshape: shape is 'a'"),
    (lambda: hb.tensor([1, [2]]), ValueError, "do not have one shape"),
    (lambda: nn.Linear(2, 2).load_state_dict(3), TypeError, "state is 3: it takes a dict"),
    (lambda: nn.Linear(2, 2)(X, X), TypeError, "positional arguments but 3"),
]


def _kinds(error):
    return error if isinstance(error, type) else tuple(error.__args__)


@pytest.mark.parametrize("k", range(len(MESSAGES)))
def test_messages_name_the_argument(k):
    call, error, text = MESSAGES[k]
    with pytest.raises(_kinds(error), match=text):
        call()


@pytest.mark.parametrize("k", range(0, len(MESSAGES)))
def test_the_same_error_in_a_recorded_function(k):
    call, _, _ = MESSAGES[k]
    with pytest.raises(Exception) as plain:
        call()
    f = hb.function(lambda: call())
    for _ in range(3):
        with pytest.raises(type(plain.value)) as got:
            f()
        assert str(got.value) == str(plain.value)


def test_a_replayed_function_takes_a_wrong_argument_as_the_plain_one_does():
    def step(x, axis):
        return hb.softmax(x * 2, axis).sum(axis=axis)

    f = hb.function(step)
    for _ in range(4):
        f(X, 1)
    assert f.cache_info().replays
    for bad in ((X, "a"), (X, 5), ("x", 1), (X, None), (None, 1), (X.astype("bool"), 1)):
        with pytest.raises(Exception) as plain:
            step(*bad)
        with pytest.raises(type(plain.value)) as got:
            f(*bad)
        assert str(got.value) == str(plain.value)
    before = f.cache_info().replays
    f(X, 1)
    assert f.cache_info().replays == before + 1


# ---- what is not translated
class Mine(Exception):
    pass


def _raise(error):
    raise error


@pytest.mark.parametrize("error", [Mine("a"), KeyError("k"), AttributeError("x"), IndexError("i")])
def test_errors_of_the_users_own_code_pass_unchanged(error):
    class Array:
        def __array__(self, dtype=None, copy=None):
            raise error

        def __index__(self):
            raise error

    calls = [
        lambda: hb.grad(lambda x: _raise(error))(X),
        lambda: hb.vjp(lambda x: _raise(error), X),
        lambda: hb.asarray(Array()),
        lambda: hb.exp(Array()),
        lambda: X.sum(axis=Array()),
        lambda: hb.intermediates(lambda: _raise(error)),
        lambda: optim.SGD([X], 0.1).step(lambda: _raise(error)),
        lambda: nn.Linear(3, 2).apply(lambda m: _raise(error)),
        lambda: nn.Sequential(lambda x: _raise(error))(X),
    ]
    for call in calls:
        with pytest.raises(type(error)) as got:
            call()
        assert got.value is error


def test_the_cause_is_kept_for_a_report():
    with pytest.raises(hb.ArgumentError) as got:
        hb.roll(X, "a")
    assert isinstance(got.value.__cause__, (TypeError, AttributeError))


def test_public_functions_keep_their_names_signatures_and_pickles():
    import inspect
    import pickle

    for f in (hb.sum, hb.einsum, hb.grad, nn.functional.softmax, hb.random.normal, hb.zeros):
        assert f.__doc__ and pickle.loads(pickle.dumps(f)) is f
        assert inspect.signature(f) == inspect.signature(inspect.unwrap(f))
    assert hb.Tensor.sum is hb.sum and hb.random.rand is hb.rand
    assert str(inspect.signature(hb.sum)).startswith("(x: 'Tensor', /, axis")


# ---- shapes
HUGE = 2**70
SHAPES = {
    "zeros": lambda: hb.zeros(HUGE),
    "zeros2": lambda: hb.zeros((2**40, 2**40)),
    "zeros_digits": lambda: hb.zeros(10**5000),
    "zeros65": lambda: hb.zeros((1,) * 65),
    "empty_side": lambda: hb.zeros((0, 2**62, 4)),
    "ones": lambda: hb.ones((2,) * 64),
    "negative": lambda: hb.zeros((2, -1)),
    "full": lambda: hb.full((2**32, 2**32), 1.0),
    "reshape": lambda: hb.ones(3).reshape(HUGE),
    "reshape65": lambda: hb.ones(1).reshape((1,) * 65),
    "reshape_empty": lambda: hb.ones(0).reshape((0, 2**63)),
    "broadcast": lambda: hb.broadcast_to(hb.ones(1), 2**62),
    "broadcast65": lambda: hb.broadcast_to(hb.ones(1), (1,) * 65),
    "expand": lambda: hb.ones(3).expand(2**62, 3),
    "expand_dims": lambda: hb.expand_dims(hb.zeros((1,) * 60), tuple(range(10))),
    "expand_dims_one": lambda: hb.expand_dims(hb.zeros((1,) * 64), 0),
    "newaxis": lambda: hb.ones(3)[(None,) * 64],
    "tile": lambda: hb.ones(3).tile(HUGE),
    "tile65": lambda: hb.ones(3).tile((1,) * 65),
    "repeat": lambda: hb.ones(3).repeat(2**62),
    "repeat_axis": lambda: hb.ones((3, 2)).repeat(HUGE, 0),
    "arange": lambda: hb.arange(2**62),
    "arange70": lambda: hb.arange(HUGE),
    "arange_float": lambda: hb.arange(0, 1, 1e-300),
    "linspace": lambda: hb.linspace(0, 1, HUGE),
    "eye": lambda: hb.eye(2**40),
    "one_hot": lambda: hb.one_hot(hb.tensor([1]), 2**61),
    "pad": lambda: hb.pad(hb.ones(3), 2**62),
    "stack": lambda: hb.stack([hb.zeros((1,) * 64)]),
    "concat": lambda: hb.concat([hb.broadcast_to(hb.ones(1), 2**60)] * 3),
    "outer": lambda: hb.outer(hb.broadcast_to(hb.ones(1), 2**40), hb.broadcast_to(hb.ones(1), 2**40)),
    "add": lambda: hb.broadcast_to(hb.ones(1), (2**40, 1)) + hb.broadcast_to(hb.ones(1), 2**40),
    "matmul": lambda: hb.broadcast_to(hb.ones(1), (2**40, 1)) @ hb.broadcast_to(hb.ones(1), (1, 2**40)),
    "rand": lambda: hb.rand(HUGE),
    "normal": lambda: hb.random.normal(0, 1, (2**40, 2**40)),
    "randint": lambda: hb.random.randint(3, size=(HUGE,)),
    "linear": lambda: nn.Linear(2**40, 2**40),
    "embedding": lambda: nn.Embedding(2**63, 2),
    "unstacked": lambda: hb.meshgrid(*[hb.ones(2**10)] * 7),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_beyond_int64_and_64_axes(name):
    with pytest.raises(hb.ShapeError):
        SHAPES[name]()
    f = hb.function(lambda: SHAPES[name]())
    for _ in range(3):
        with pytest.raises(hb.ShapeError):
            f()


def test_sixty_four_axes_work():
    x = hb.ones((1,) * 63 + (3,))
    y = (x * 2).sum() + x.reshape(3)[0]
    assert y.item() == 7.0 and x.ndim == 64


@pytest.mark.parametrize(
    "call",
    [
        lambda: hb.zeros(2**45),
        lambda: hb.rand(2**50),
        lambda: hb.broadcast_to(hb.ones(1), 2**44) + 1,
        lambda: hb.arange(2**45),
        lambda: hb.ones(3).tile(2**44),
        lambda: hb.eye(2**25),
    ],
)
def test_memory_that_cannot_be_had(call):
    with pytest.raises(MemoryError, match="allocate"):
        call()
    assert (hb.ones(3) + 1).tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("k", [2**70, -(2**70), 2**63 - 1, -(2**63), 7, -7])
def test_diagonals_far_outside_do_not_wrap(k):
    x = np.ones((3, 4), np.float32)
    near = max(-9, min(k, 9))
    assert np.array_equal(hb.tril(hb.tensor(x), k), np.tril(x, near))
    assert np.array_equal(hb.triu(hb.tensor(x), k), np.triu(x, near))
    assert np.array_equal(hb.eye(3, 4, k=k), np.eye(3, 4, k=near))


# ---- other libraries' spellings
SPELLINGS = [
    (lambda: X.size(0), r"x\.shape\[i\]"),
    (lambda: X.size(), r"x\.shape"),
    (lambda: X.sum(axis=1, dim=0), "both axis and dim"),
    (lambda: X.sum(1, dim=1), "both axis and dim"),
    (lambda: X.sum(1, keepdims=True, keepdim=True), "both keepdims and keepdim"),
    (lambda: X.exp(dim=1), "dim"),
    (lambda: X.flip(dims=1), "it is called axis here"),
    (lambda: X.unsqueeze(axis=0), "it is called dim here"),
    (lambda: hb.empty(size=3), "shape"),
    (lambda: hb.full((2,), value=1), "it is called fill_value here"),
    (lambda: X.view(hb.int32), r"x\.astype"),
    (lambda: X.t(), r"x\.mT"),
    (lambda: X.stride(), "cannot be seen"),
    (lambda: X.scatter_(0, 0, 0), "put_along_axis"),
    (lambda: X.var(unbiased=False), "correction"),
    (lambda: X.transpose(dim0=0, dim1=1), "by position"),
    (lambda: X.swapaxes(dim0=0, dim1=1), "axis1 and axis2"),
    (lambda: hb.where(X > 0, X, X, out=X), "results are always fresh"),
    (lambda: hb.cat, "hybrid.concat"),
    (lambda: hb.clamp, "hybrid.clip"),
    (lambda: hb.float, "hybrid.float32"),
    (lambda: nn.LeakyReLU, "leaky_relu"),
    (lambda: nn.functional.bce_loss, "binary_cross_entropy"),
    (lambda: optim.RMSprop, "Adam"),
    (lambda: hb.function(lambda x: x, mode="max"), "no modes"),
    (lambda: nn.Conv2d(1, 2, 3, padding_mode="reflect"), "hybrid.pad"),
    (lambda: nn.Tanh(inplace=True), r"Tanh\(\) got"),
    (lambda: optim.SGD([X], learning_rate=1), "it is called lr here"),
    (lambda: X.item(), "one element"),
]


@pytest.mark.parametrize("k", range(len(SPELLINGS)))
def test_the_error_names_our_spelling(k):
    call, text = SPELLINGS[k]
    with pytest.raises((TypeError, AttributeError, NotImplementedError, ValueError), match=text):
        call()


def test_size_is_a_number_in_every_other_use():
    assert X.size == 6 and X.size.bit_length() == 3 and getattr(X, "size") == 6  # noqa: B009
    assert [*map(lambda t: t.size, [X])] == [6] and f"{X.size}" == "6" and len(X.shape) == 2
    f = hb.function(lambda x: x.reshape(x.size).sum() / x.size)
    assert {f(X).item() for _ in range(4)} == {3.5} and f.cache_info().replays


def test_shape_given_by_keyword():
    assert hb.zeros(shape=(2, 3)).shape == hb.ones(shape=(2, 3), dtype="int8").shape == (2, 3)
    assert X.reshape(shape=(3, 2)).shape == X.permute_dims(axes=(1, 0)).shape == (3, 2)


@pytest.mark.parametrize("make", [nn.ReLU, nn.SiLU, lambda inplace: nn.Dropout(0.0, inplace)])
@pytest.mark.parametrize("traced", [False, True])
def test_inplace_layers_write_their_input(make, traced):
    def step(w):
        x = w * 1
        y = make(True)(x) if not traced else layer(x)
        return x + 0, y + 0, x is y

    layer = make(inplace=True)
    w = hb.tensor([-1.0, 2.0], requires_grad=True)
    f = hb.function(step) if traced else step
    for _ in range(4):
        x, y, same = f(w)
        want = make(inplace=False)(w)
        assert same and x.tolist() == y.tolist() == want.tolist()
    value, g = hb.value_and_grad(lambda v: (layer(v * 1) * 3).sum())(w)
    assert g.tolist() == hb.grad(lambda v: (make(inplace=False)(v * 1) * 3).sum())(w).tolist()
    with pytest.raises(hb.HybridError, match="leaf"):
        layer(w)


def test_layers_take_a_device_where_pytorch_does():
    for layer in (
        nn.Linear(2, 2, True, "cpu"),
        nn.Conv2d(1, 2, 3, device="cpu"),
        nn.Embedding(3, 2, device="cpu"),
        nn.LayerNorm(3, device="cpu", dtype="float64"),
        nn.LSTMCell(2, 2, True, "cpu", "float64"),
    ):
        assert {str(p.device) for p in layer.parameters()} == {"cpu"}
    for wrong in ("float16", np.float32, 3, "gpu"):
        with pytest.raises(hb.DeviceError):
            nn.Linear(2, 2, True, wrong)


def test_every_hint_leads_somewhere():
    import re

    from hybrid.core import spelling

    for text in spelling.METHODS.values():
        for name in re.findall(r"x\.(\w+)", text):
            assert hasattr(X, name), text
        for name in re.findall(r"hybrid\.(?!random)(\w+)", text):
            assert hasattr(hb, name), text
    for text in (*spelling.FUNCTIONS.values(), *spelling.LAYERS.values()):
        found = re.match(r"(?:hybrid\.)?((?:nn\.|optim\.|random\.)?(?:functional\.)?\w+)", text)
        if " " not in text and "(" not in text and not text.startswith(("numpy", "x.")):
            space = hb
            for part in found.group(1).split("."):
                space = getattr(space, part)
    for name in spelling.METHODS:
        assert not hasattr(X, name) and name not in dir(X)


def test_what_equals_an_axis_is_refused_whatever_was_called_before():
    """No table of calls takes 1.0 for 1."""
    for f in (hb.sum, hb.mean, hb.prod, hb.max, hb.all, hb.argmax, hb.softmax, hb.cumulative_sum):
        f(X, 1)
        with pytest.raises(TypeError):
            f(X, 1.0)
    for f in (hb.sum, hb.mean, hb.amax, hb.any, hb.std):
        f(X, (0, 1))
        with pytest.raises(TypeError):
            f(X, (0, 1.0))
    X[1], X[0:1], hb.zeros((2, 3)), X.reshape((3, 2)), hb.broadcast_to(X, (2, 2, 3))
    for call in (
        lambda: X[1.0],
        lambda: X[0.0:1.0],
        lambda: hb.zeros((2.0, 3)),
        lambda: X.reshape((3.0, 2)),
        lambda: hb.broadcast_to(X, (2.0, 2, 3)),
        lambda: X.permute_dims((1.0, 0.0)),
    ):
        with pytest.raises(TypeError):
            call()
