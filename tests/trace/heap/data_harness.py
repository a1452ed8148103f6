"""Functions of arrays and buffers, traced and compared with plain calls."""

import warnings

import numpy as np

import hybrid
from hybrid import function

X = hybrid.tensor(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4))


def leaves(value):
    """Tensors of a result as bytes, everything else as it is."""
    if isinstance(value, hybrid.Tensor):
        return value.dtype.name, value.shape, value.numpy().tobytes()
    if isinstance(value, (list, tuple)):
        return [leaves(v) for v in value]
    if isinstance(value, dict):
        return {k: leaves(v) for k, v in value.items()}
    return value


def compared(body, arguments, calls=6):
    """The traced function, after calls that each gave what the plain one gives."""
    traced = function(body)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(calls):
            want = leaves(body(*arguments(number)))
            assert leaves(traced(*arguments(number))) == want, number
    return traced


def batch(number, dtype=np.float32, shape=(3, 4)):
    return (np.arange(np.prod(shape)).reshape(shape) * (number + 1) % 7).astype(dtype)


def replayed(traced, records=2):
    info = traced.cache_info()
    return info.records == records and info.eager == 0 and info.plans == 1
