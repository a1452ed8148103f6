"""Libraries that take arrays of the standard take tensors; each is skipped where it is absent."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hybrid as hb

CALLS = Path(__file__).with_name("library_calls.py")
X = hb.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def version(name):
    found = pytest.importorskip(name)
    return tuple(int(part) for part in found.__version__.split(".")[:2])


def test_learning_and_science():
    """In a process of its own, since SciPy reads its switch when it is imported."""
    if version("sklearn") < (1, 6) or version("scipy") < (1, 16):
        pytest.skip("its functions take few arrays of other libraries")
    command = [sys.executable, str(CALLS)]
    env = os.environ | {"SCIPY_ARRAY_API": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    calls = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(calls) > 80
    wrong = [call for call in calls if call[1]]
    assert not wrong, "\n".join(map(str, wrong))


def test_array_api_compat():
    compat = pytest.importorskip("array_api_compat")
    assert compat.is_array_api_obj(X) and compat.array_namespace(X, hb.ones(3)) is hb
    assert compat.device(X) == "cpu" and compat.size(X) == 6
    assert compat.to_device(X, "cpu").shape == (2, 3)


def test_jaxtyping():
    types = pytest.importorskip("jaxtyping")
    assert isinstance(X, types.Float[hb.Tensor, "rows columns"])
    assert isinstance(X, types.Float32[hb.Tensor, "2 3"])
    assert not isinstance(X, types.Int[hb.Tensor, "..."])
    assert isinstance(hb.ones(2, dtype="bfloat16"), types.BFloat16[hb.Tensor, "n"])
    assert isinstance(hb.ones(2, dtype="complex64"), types.Complex[hb.Tensor, "n"])


def test_einops_and_opt_einsum():
    einops = pytest.importorskip("einops.array_api")
    cube = hb.arange(24.0).reshape(2, 3, 4)
    assert einops.rearrange(cube, "a b c -> c (a b)").shape == (4, 6)
    assert einops.reduce(cube, "a b c -> a", "mean").tolist() == [5.5, 17.5]
    if importlib.util.find_spec("opt_einsum") is not None:
        import opt_einsum

        found = opt_einsum.contract("ij,kj,kl->il", X, X, X)
        assert type(found) is hb.Tensor
        np.testing.assert_allclose(found, X.numpy() @ X.numpy().T @ X.numpy())


def test_xarray():
    xarray = pytest.importorskip("xarray")
    array = xarray.DataArray(X, dims=("r", "c"), coords={"c": [10, 20, 30]})
    plain = xarray.DataArray(X.numpy(), dims=("r", "c"), coords={"c": [10, 20, 30]})
    for call in (
        lambda d: d.mean("r"),
        lambda d: d.sel(c=20),
        lambda d: (d + 1).transpose("c", "r"),
        lambda d: d.cumsum("c"),
        lambda d: d.shift(c=1),
        lambda d: d.where(d > 2, 0.0),
        lambda d: d.stack(z=("r", "c")),
        lambda d: d.quantile(0.5),
        lambda d: xarray.concat([d, d], "r"),
        lambda d: xarray.apply_ufunc(np.exp, d),
    ):
        found, wanted = call(array), call(plain)
        assert type(found.data) is hb.Tensor
        np.testing.assert_allclose(found.data.numpy(), wanted.data, rtol=1e-6)
    assert array.equals(array.copy(deep=True)) and "tensor" in repr(array)
