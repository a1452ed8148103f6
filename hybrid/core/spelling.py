"""How other libraries spell what hybrid has: the table behind the hints of error messages.

Invariant: every right-hand side that is a bare name exists in hybrid; the rest says what to write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = [
    "KEYWORDS",
    "ACCELERATOR",
    "DEVICES",
    "EXCHANGED",
    "INTERFACES",
    "METHODS",
    "FUNCTIONS",
    "LAYERS",
    "OPTIMIZERS",
    "hint",
    "elsewhere",
    "Missing",
]

# keyword elsewhere -> parameters here, the first that the function has
KEYWORDS = {
    "dim": ("axis", "axes"),
    "axis": ("dim", "axes"),
    "dims": ("axes", "axis", "shape"),
    "axes": ("axis",),
    "start_dim": ("start",),
    "end_dim": ("stop",),
    "start": ("start_dim",),
    "stop": ("end_dim",),
    "end": ("stop",),
    "steps": ("num",),
    "diagonal": ("k", "offset"),
    "offset": ("k",),
    "shifts": ("shift",),
    "pad": ("pad_width",),
    "padding": ("pad_width",),
    "loc": ("mean",),
    "scale": ("std",),
    "shape": ("size",),
    "requires_grad": ("on",),
    "elementwise_affine": ("weight",),
    "decimals": ("n",),
    "keepdim": ("keepdims",),
    "size": ("shape", "sizes"),
    "newshape": ("shape",),
    "input": ("x", "logits", "a"),
    "a": ("x",),
    "tensor": ("x", "data"),
    "self": ("x",),
    "object": ("data",),
    "obj": ("data",),
    "other": ("y", "b"),
    "tensors": ("xs",),
    "arrays": ("xs",),
    "fill_value": ("value",),
    "ord": ("p",),
    "exponent": ("y",),
    "equation": ("spec",),
    "subscripts": ("spec",),
    "unbiased": ("correction",),
    "ddof": ("correction",),
    "a_min": ("min",),
    "a_max": ("max",),
    "dimension": ("axis",),
    "split_size_or_sections": ("sections",),
    "num_samples": ("size",),
    "replacement": ("replace",),
    "requires_gradient": ("requires_grad",),
    "betas": ("beta1",),
    "learning_rate": ("lr",),
    "prob": ("p",),
    "p": ("ord",),
    "n_features": ("in_features",),
    "units": ("out_features",),
    "filters": ("out_channels",),
    "kernel": ("kernel_size",),
    "strides": ("stride",),
    "query": ("q",),
    "key": ("k",),
    "value": ("v",),
    "static_argnums": (),
}
# keywords that no function here has, and the way out
_NO_KEYWORD = {
    "out": "results are always fresh; assign the result, or write x.assign(...)",
    "inplace": "write the method that ends in an underscore (x.relu_()), or use the result",
    "where": "select with hybrid.where first",
    "order": "how a value lies in memory cannot be seen here",
    "casting": "convert with .astype first",
    "subok": "there are no subclasses of tensors",
    "layout": "tensors are dense",
    "memory_format": "how a value lies in memory cannot be seen here",
    "pin_memory": "x.pin_memory(), after the tensor is made",
    "non_blocking": "calls return when their value can be used",
    "foreach": "every parameter has one fused update",
    "fused": "every parameter has one fused update",
    "capturable": "a recorded step is replayed without it",
    "size_average": "write reduction='mean' or 'sum'",
    "reduce": "write reduction='none'",
    "device": "move the result with .to(device)",
    "dtype": "convert with .astype",
    "mode": "hybrid.function has no modes",
    "fullgraph": "hybrid.function has no such switch; .explain() says what was replayed",
    "dynamic": "hybrid.function records every shape by itself",
    "backend": "hybrid.function has one compiler",
    "static_argnums": "Python values are static, and tensors are not, without being told",
    "donate_argnums": "buffers that nobody holds are reused without being told",
}
# attributes of PyTorch's and NumPy's arrays -> what to write with a Tensor x
METHODS = {
    "t": "x.mT (the last two axes swapped), or x.T (all axes reversed)",
    "H": "x.mT",
    "adjoint": "x.mT",
    "view_as": "x.reshape(other.shape)",
    "reshape_as": "x.reshape(other.shape)",
    "expand_as": "x.expand(*other.shape)",
    "swapdims": "x.swapaxes(a, b)",
    "movedim": "x.moveaxis(source, destination)",
    "cumprod": "hybrid.cumulative_prod(x, axis)",
    "cumulative_prod": "hybrid.cumulative_prod(x, axis)",
    "is_contiguous": "nothing: how a value lies in memory cannot be seen here",
    "stride": "nothing: how a value lies in memory cannot be seen here",
    "strides": "nothing: how a value lies in memory cannot be seen here",
    "flags": "nothing: tensors have no flags",
    "storage": "x.numpy()",
    "data_ptr": "x.numpy().ctypes.data",
    "untyped_storage": "x.numpy()",
    "is_cuda": "x.device.kind == 'cuda'",
    "get_device": "x.device",
    "share_memory_": "x.numpy(): there is no shared memory",
    "detach_": "x = x.detach()",
    "retain_grad": "hybrid.grad, or hybrid.gradients(output, [x])",
    "register_hook": "hybrid.custom_gradient",
    "grad_fn": "x.requires_grad and x.is_leaf",
    "requires_gradient": "x.requires_grad",
    "mul__": "x.mul_(y)",
    "clamp_min": "x.clip(low, None)",
    "clamp_max": "x.clip(None, high)",
    "clip_": "x.clamp_(low, high)",
    "float16": "x.half()",
    "float32": "x.float()",
    "float64": "x.double()",
    "float_": "x.float()",
    "short": "x.astype('int16')",
    "byte": "x.astype('uint8')",
    "char": "x.astype('int8')",
    "cfloat": "real dtypes: there are no complex tensors",
    "real": "x: there are no complex tensors",
    "imag": "hybrid.zeros_like(x): there are no complex tensors",
    "conj": "x: there are no complex tensors",
    "nelements": "x.numel()",
    "ndimension": "x.ndim",
    "nonzero_": "x.nonzero()",
    "index_fill": "x.clone() and x[index] = value",
    "index_fill_": "x[index] = value",
    "index_copy_": "x[index] = values",
    "index_put_": "x[index] = values",
    "index_add": "hybrid.index_add(x, axis, index, source)",
    "index_add_": "x.assign(hybrid.index_add(x, axis, index, source))",
    "scatter": "hybrid.put_along_axis(y, indices, values, axis) of y = x.clone()",
    "scatter_": "hybrid.put_along_axis(x, indices, values, axis)",
    "scatter_add": "hybrid.index_add(x, axis, index, source)",
    "scatter_add_": "x.assign(hybrid.index_add(x, axis, index, source))",
    "masked_fill_": "x[mask] = value",
    "masked_select": "x[mask]",
    "masked_scatter": "x[mask] = values",
    "normal_": "x.assign(hybrid.random.normal(mean, std, x.shape))",
    "uniform_": "x.assign(hybrid.random.uniform(low, high, x.shape))",
    "random_": "x.assign(hybrid.random.randint(high, size=x.shape))",
    "bernoulli": "hybrid.random.bernoulli(x)",
    "multinomial": "hybrid.random.categorical(logits)",
    "squeeze_": "x = x.squeeze(axis)",
    "unsqueeze_": "x = x.unsqueeze(axis)",
    "sigmoid_": "x.assign(x.sigmoid())",
    "tanh_": "x.assign(x.tanh())",
    "sqrt_": "x.assign(x.sqrt())",
    "abs_": "x.assign(x.abs())",
    "addmm": "bias + x @ y",
    "mv": "x @ y",
    "ger": "x.outer(y)",
    "inner": "hybrid.vecdot(x, y)",
    "triu_": "x.assign(x.triu())",
    "tril_": "x.assign(x.tril())",
    "median": "x.sort()[..., x.shape[-1] // 2]",
    "kthvalue": "x.sort()[..., k - 1]",
    "new_zeros": "hybrid.zeros(shape, dtype=x.dtype, device=x.device)",
    "new_ones": "hybrid.ones(shape, dtype=x.dtype, device=x.device)",
    "new_empty": "hybrid.empty(shape, dtype=x.dtype, device=x.device)",
    "new_full": "hybrid.full(shape, value, dtype=x.dtype, device=x.device)",
    "new_tensor": "hybrid.tensor(data, dtype=x.dtype, device=x.device)",
    "element_count": "x.numel()",
    "ptp": "x.max() - x.min()",
    "tobytes": "x.numpy().tobytes()",
    "tofile": "x.numpy().tofile(file)",
    "dump": "numpy.save(file, x.numpy())",
    "resize": "x.reshape(shape)",
    "resize_": "x.reshape(shape)",
    "conjugate": "x: there are no complex tensors",
    "flat": "x.ravel()",
    "sub__": "x.sub_(y)",
    "at": "x[index] = value (tensors can be written)",
    "block_until_ready": "x: calls return when their value can be used",
    "to_numpy": "x.numpy()",
    "asnumpy": "x.numpy()",
    "to_list": "x.tolist()",
    "relu6": "hybrid.relu6(x)",
    "lerp": "x + weight * (end - x)",
    "permute_": "x = x.permute(...)",
    "matrix_transpose": "x.mT",
    "isclose": "hybrid.abs(x - y) <= atol + rtol * hybrid.abs(y)",
    "allclose": "numpy.allclose(x, y)",
    "equals": "bool((x == y).all())",
    "equal": "bool((x == y).all())",
}
# names of NumPy, PyTorch and JAX -> the function here, or what to write
FUNCTIONS = {
    "Array": "Tensor",
    "ndarray": "Tensor",
    "FloatTensor": "tensor",
    "LongTensor": "tensor",
    "from_numpy": "asarray",
    "as_tensor": "asarray",
    "cat": "concat",
    "cumsum": "cumulative_sum",
    "cumprod": "cumulative_prod",
    "permute": "permute_dims",
    "movedim": "moveaxis",
    "swapdims": "swapaxes",
    "t": "matrix_transpose",
    "unsqueeze": "expand_dims",
    "normal": "random.normal",
    "seed": "manual_seed",
    "mul": "multiply",
    "sub": "subtract",
    "div": "divide",
    "neg": "negative",
    "clamp": "clip",
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "mm": "matmul",
    "bmm": "matmul",
    "mv": "matmul",
    "inner": "vecdot",
    "ger": "outer",
    "gather": "take_along_axis",
    "index_select": "take",
    "scatter": "put_along_axis",
    "unbind": "unstack",
    "amin_": "amin",
    "product": "prod",
    "max_pool": "max_pool2d",
    "Module": "nn.Module",
    "Linear": "nn.Linear",
    "Parameter": "nn.Parameter",
    "Adam": "optim.Adam",
    "SGD": "optim.SGD",
    "Generator_": "Generator",
    "save": "nn.Module.state_dict with numpy.savez",
    "load": "numpy.load with nn.Module.load_state_dict",
    "vmap": "broadcasting, or a loop over hybrid.unstack",
    "pmap": "one device",
    "compile": "function",
    "jit": "function",
    "script": "function",
    "jacobian": "hybrid.grad of each output",
    "hessian": "hybrid.grad(hybrid.grad(f))",
    "is_tensor": "isinstance(x, hybrid.Tensor)",
    "numel": "x.numel()",
    "allclose": "numpy.allclose(x, y)",
    "set_printoptions": "numpy.set_printoptions",
    "set_default_dtype": "the argument dtype=",
    "inference_mode": "no_grad",
    "is_grad_enabled": "hybrid.set_grad_enabled",
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "bool": "bool_",
    "int_": "int64",
    "float_": "float64",
    "complex64": "real dtypes: there are no complex tensors",
    "complex128": "real dtypes: there are no complex tensors",
}
# kinds of devices that are named so elsewhere: a text that names one is no dtype
DEVICES = frozenset(("cpu", "cuda", "gpu", "mps", "tpu", "xpu"))
ACCELERATOR = "cuda"  # whose pinned memory `Tensor.pin_memory` takes
# the kinds of devices by their numbers in DLPack; others have host memory
EXCHANGED = {2: "cuda", 13: "cuda"}
# attributes that say where a foreign array is, and the kinds that read them
INTERFACES = {"__cuda_array_interface__": "cuda"}
LAYERS = {
    "Dropout1d": "nn.Dropout",
    "Dropout2d": "nn.Dropout",
    "BCELoss": "nn.functional.binary_cross_entropy",
    "BCEWithLogitsLoss": "nn.functional.binary_cross_entropy_with_logits",
    "L1Loss": "nn.functional.l1_loss",
    "HuberLoss": "nn.functional.huber_loss",
    "SmoothL1Loss": "nn.functional.smooth_l1_loss",
    "KLDivLoss": "nn.functional.kl_div",
    "NLLLoss": "nn.functional.nll_loss",
    "LeakyReLU": "nn.functional.leaky_relu",
    "ELU": "nn.functional.elu",
    "ReLU6": "hybrid.relu6",
    "Hardtanh": "hybrid.hardtanh",
    "Hardswish": "hybrid.hardswish",
    "Mish": "hybrid.mish",
    "Swish": "nn.SiLU",
    "GroupNorm": "nn.functional.group_norm",
    "RMSNorm": "nn.functional.rms_norm",
    "BatchNorm1d": "nn.functional.batch_norm with register_buffer",
    "BatchNorm2d": "nn.functional.batch_norm with register_buffer",
    "Conv1d": "nn.functional.conv1d",
    "ConvTranspose2d": "nn.functional.conv_transpose2d",
    "AdaptiveAvgPool2d": "hybrid.adaptive_avg_pool2d",
    "MultiheadAttention": "nn.functional.scaled_dot_product_attention",
    "LSTM": "nn.LSTMCell in a loop",
    "Dense": "nn.Linear",
    "Buffer": "nn.Module.register_buffer",
    "ParameterList": "attributes, or register_parameter in a loop",
    "Upsample": "x.repeat(n, axis)",
    "clamp": "hybrid.clip",
    "swish": "nn.functional.silu",
    "hardtanh": "hybrid.hardtanh",
    "relu6": "hybrid.relu6",
    "hardswish": "hybrid.hardswish",
    "hardsigmoid": "hybrid.hardsigmoid",
    "mish": "hybrid.mish",
    "celu": "hybrid.celu",
    "max_pool1d": "hybrid.max_pool1d",
    "avg_pool1d": "hybrid.avg_pool1d",
    "adaptive_avg_pool2d": "hybrid.adaptive_avg_pool2d",
    "interpolate": "x.repeat(n, axis)",
    "bce_loss": "nn.functional.binary_cross_entropy",
}
OPTIMIZERS = {
    "lr_scheduler": "a plain assignment, opt.lr = value, which no recorded step misses",
    "RMSprop": "SGD, Adam or AdamW, or a subclass of Optimizer",
    "Adagrad": "SGD, Adam or AdamW, or a subclass of Optimizer",
    "NAdam": "SGD, Adam or AdamW, or a subclass of Optimizer",
    "Adamax": "SGD, Adam or AdamW, or a subclass of Optimizer",
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
}


def hint(keyword: str, parameters: tuple[str, ...]) -> str:
    """What to write instead of a keyword that a function with these parameters does not have."""
    if keyword in ("dim0", "dim1", "dim2"):
        numbered = "axis1" in parameters
        return (
            "; the axes are called axis1 and axis2 here" if numbered else "; give axes by position"
        )
    for name in KEYWORDS.get(keyword, ()):
        if name in parameters:
            return f"; it is called {name} here"
    if keyword in _NO_KEYWORD:
        return f"; {_NO_KEYWORD[keyword]}"
    return f"; it takes {', '.join(parameters)}" if parameters else "; it takes none"


def elsewhere(
    module: str, names: Mapping[str, str], namespace: Mapping[str, Any]
) -> Callable[[str], None]:
    """A `__getattr__` for a module: it says what a name of NumPy, PyTorch or JAX is called here."""

    def missing(name: str) -> None:
        spelled = names.get(name)
        if spelled is None:
            suggestion = ""
        elif " " not in spelled and spelled.partition(".")[0] in namespace:
            suggestion = f"; it is called {module}.{spelled} here"
        else:
            suggestion = f"; use {spelled}"
        raise AttributeError(f"module {module!r} has no attribute {name!r}{suggestion}")

    return missing


class Missing:
    """A name that a class does not have: reading it raises an AttributeError that says what to
    write, so `hasattr` is False and ordinary attributes cost what they cost without it."""

    __slots__ = ("text",)

    def __init__(self, owner: str, name: str, instead: str) -> None:
        advice = instead.removeprefix("nothing: ")
        advice = advice if advice != instead else f"use {instead}"
        self.text = f"{owner!r} object has no attribute {name!r}; {advice}"

    def __get__(self, instance: Any, cls: type | None = None) -> Any:
        raise AttributeError(self.text)
