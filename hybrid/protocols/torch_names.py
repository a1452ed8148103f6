"""PyTorch's public functions that hybrid has under no name of its own, and what to write instead.

Invariant: every public name of the module `torch` is in `hybrid`, in `spelling.FUNCTIONS`, in
NumPy's table or in this one; a test goes through a list of them.
"""

from __future__ import annotations

import re
from collections.abc import Container

__all__ = ["TORCH", "torch_way"]

_ROWS = {
    # arithmetic and reductions that are a line of others
    "addmm addmv addbmm baddbmm": "beta * x + alpha * (a @ b)",
    "addr": "beta * x + alpha * hybrid.outer(a, b)",
    "addcdiv": "x + value * a / b",
    "addcmul": "x + value * a * b",
    "aminmax": "(hybrid.min(x, axis), hybrid.max(x, axis))",
    "std_mean": "(hybrid.std(x, correction=1), hybrid.mean(x))",
    "var_mean": "(hybrid.var(x, correction=1), hybrid.mean(x))",
    "clamp_max": "hybrid.minimum(x, high)",
    "clamp_min": "hybrid.maximum(x, low)",
    "cummax cummin": "hybrid.scan, with hybrid.maximum or hybrid.minimum as its step",
    "logcumsumexp": "hybrid.scan, with hybrid.logaddexp as its step",
    "cumulative_trapezoid": "hybrid.cumulative_sum of (y[1:] + y[:-1]) / 2",
    "dist pairwise_distance": "hybrid.linalg.vector_norm(x - y, ord=p)",
    "cdist pdist": "hybrid.linalg.vector_norm(x[:, None] - y[None], axis=-1)",
    "renorm": "x * hybrid.clip(limit / hybrid.linalg.vector_norm(x, axis=axes), None, 1)",
    "frobenius_norm norm_except_dim native_norm": "hybrid.linalg.norm",
    "nuclear_norm": "hybrid.linalg.matrix_norm(x, ord='nuc')",
    "frac": "x - hybrid.trunc(x)",
    "lerp": "x + weight * (end - x)",
    "rsub": "y - x",
    "sgn": "hybrid.sign",
    "rrelu": "hybrid.where(x < 0, slope * x, x), with slopes by hybrid.random.uniform",
    "hardshrink": "hybrid.where(hybrid.abs(x) > limit, x, 0)",
    "prelu": "hybrid.where(x < 0, weight * x, x)",
    "threshold": "hybrid.where(x > limit, x, value)",
    "mode": "hybrid.unique_counts, then its largest count",
    "msort": "hybrid.sort(x, 0)",
    "kthvalue": "hybrid.partition(x, k - 1, axis)",
    "combinations": "itertools.combinations, whose indices take from x",
    "cartesian_prod": "hybrid.meshgrid(..., indexing='ij'), stacked",
    "segment_reduce": "hybrid.index_add, or a loop over slices",
    "bilinear": "hybrid.einsum('bi,oij,bj->bo', x, weight, y)",
    "channel_shuffle native_channel_shuffle": "reshape, swapaxes and reshape back",
    "pixel_shuffle pixel_unshuffle": "reshape, hybrid.permute_dims and reshape back",
    "hash_tensor": "hash(x.numpy().tobytes())",
    # shapes, parts, copies
    "adjoint": "hybrid.conj(x).mT",
    "as_strided as_strided_scatter": "slices, reshape and hybrid.unfold: memory cannot be seen",
    "constant_pad_nd": "hybrid.nn.functional.pad",
    "diag_embed": "hybrid.embed_diagonal",
    "narrow": "x[:, start : start + length], with as many colons as axes before it",
    "diagonal_scatter": "y = x.clone(), then y[rows, columns] = values",
    "select_scatter slice_scatter slice_inverse": "y = x.clone(), then y[index] = values",
    "index_copy index_fill index_put masked_scatter": "y = x.clone(), then y[index] = values",
    "masked_fill": "hybrid.where(mask, value, x)",
    "index_reduce scatter_reduce": "hybrid.index_add, or hybrid.put_along_axis",
    "scatter_add": "hybrid.index_add",
    "nonzero_static": "hybrid.nonzero, whose size goes by the data",
    "repeat_interleave": "hybrid.repeat",
    "resize_as_ resize_as_sparse_": "x.reshape(y.shape)",
    "split_with_sizes tensor_split unsafe_split unsafe_split_with_sizes": (
        "hybrid.split(x, positions), as NumPy's"
    ),
    "unsafe_chunk": "hybrid.chunk",
    "take_along_dim": "hybrid.take_along_axis",
    "unflatten": "x.reshape(...)",
    "unique_dim": "hybrid.unique(x, axis=axis)",
    "unique_consecutive": "hybrid.unique of runs: x[1:] != x[:-1] says where one begins",
    "complex": "real + 1j * imaginary",
    "polar": "size * hybrid.exp(1j * angle)",
    "view_as_complex": "x[..., 0] + 1j * x[..., 1]",
    "view_as_real": "hybrid.stack([hybrid.real(x), hybrid.imag(x)], -1)",
    "conj_physical resolve_conj": "hybrid.conj: nothing is put off",
    "resolve_neg": "x: nothing is put off",
    "detach": "x.detach()",
    "alias_copy slice_copy": "x.clone(), or a slice of it",
    "broadcast_tensors": "hybrid.broadcast_arrays",
    "zero_": "x.zero_()",
    "fill": "hybrid.full_like(x, value)",
    "range": "hybrid.arange(start, end + step, step)",
    "scalar_tensor": "hybrid.tensor",
    "from_file": "numpy.memmap, then hybrid.asarray",
    "empty_permuted empty_strided": "hybrid.empty: how a value lies in memory cannot be seen",
    "block_diag": "hybrid.block, with hybrid.zeros between",
    # random numbers
    "binomial": "hybrid.random.binomial",
    "poisson": "hybrid.random.poisson",
    "multinomial": "hybrid.random.categorical, or hybrid.random.multinomial for counts",
    "randint_like": "hybrid.randint(low, high, x.shape)",
    "get_rng_state": "hybrid.default_generator().get_state()",
    "set_rng_state": "hybrid.default_generator().set_state(state)",
    "initial_seed thread_safe_generator": "hybrid.Generator(seed), which one passes on",
    # linear algebra
    "geqrf orgqr ormqr": "hybrid.linalg.qr",
    "lu_unpack": "hybrid.linalg.lu",
    "pca_lowrank svd_lowrank": "hybrid.linalg.svd",
    "lobpcg": "hybrid.linalg.eigh",
    # layers and losses
    "adaptive_max_pool1d": "hybrid.max_pool1d",
    "max_pool1d_with_indices": "hybrid.max_pool1d(..., return_indices=True)",
    "affine_grid_generator grid_sampler grid_sampler_2d grid_sampler_3d": (
        "hybrid.take of computed positions, weighted"
    ),
    "alpha_dropout feature_alpha_dropout feature_dropout native_dropout": "hybrid.dropout",
    "conv_tbc": "hybrid.conv1d of hybrid.permute_dims(x, (1, 2, 0))",
    "convolution": "hybrid.conv1d, hybrid.conv2d or hybrid.conv3d",
    "cosine_embedding_loss hinge_embedding_loss margin_ranking_loss triplet_margin_loss": (
        "its formula, in hybrid.clip and hybrid.mean"
    ),
    "poisson_nll_loss": "hybrid.mean(hybrid.exp(x) - target * x)",
    "ctc_loss": "hybrid.scan over the steps, with hybrid.logaddexp",
    "embedding_bag": "hybrid.embedding, then a sum or mean",
    "embedding_renorm_": "weights scaled by hybrid.linalg.vector_norm",
    "gru gru_cell lstm lstm_cell rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell": (
        "hybrid.scan over the steps, with hybrid.linear and hybrid.sigmoid"
    ),
    "instance_norm": "hybrid.group_norm with a group for each channel",
    "native_batch_norm": "hybrid.batch_norm",
    "native_group_norm": "hybrid.group_norm",
    "native_layer_norm": "hybrid.layer_norm",
    "istft stft": "hybrid.fft of windows by hybrid.unfold",
    # what a tensor is
    "is_complex": "x.dtype.kind == 'c'",
    "is_floating_point": "hybrid.isdtype(x.dtype, 'real floating')",
    "is_signed": "not hybrid.isdtype(x.dtype, ('bool', 'unsigned integer'))",
    "is_nonzero": "bool(x)",
    "is_same_size": "x.shape == y.shape",
    "is_conj is_neg is_inference is_distributed": "nothing of that kind: it is False here",
    "is_storage": "x.numpy()",
    "is_vulkan_available": "hybrid.cuda.is_available()",
    # settings
    "are_deterministic_algorithms_enabled use_deterministic_algorithms": (
        "nothing: all results are deterministic"
    ),
    "get_deterministic_debug_mode set_deterministic_debug_mode": (
        "nothing: all results are deterministic"
    ),
    "is_deterministic_algorithms_warn_only_enabled": "nothing: all results are deterministic",
    "is_inference_mode_enabled": "hybrid.no_grad",
    "is_warn_always_enabled set_warn_always": "warnings.simplefilter",
    "get_default_dtype set_default_tensor_type": "float32, the default here; dtype= says another",
    "get_default_device set_default_device get_device_module": "device=, or .to(device)",
    "get_num_interop_threads set_num_interop_threads init_num_threads": "hybrid.set_num_threads",
    "set_flush_denormal": "nothing: subnormal numbers are kept",
    "autocast GradScaler": "dtype='bfloat16' of a model: there is no autocast",
    "export": "hybrid.function, which compiles what it calls",
    "TypedStorage UntypedStorage": "x.numpy()",
    "BoolTensor": "hybrid.tensor(data, dtype='bool')",
    "ByteTensor": "hybrid.tensor(data, dtype='uint8')",
    "CharTensor": "hybrid.tensor(data, dtype='int8')",
    "ShortTensor": "hybrid.tensor(data, dtype='int16')",
    "IntTensor": "hybrid.tensor(data, dtype='int32')",
    "DoubleTensor": "hybrid.tensor(data, dtype='float64')",
}
TORCH = {name: way for names, way in _ROWS.items() for name in names.split()}
# families of names, whose functions are no users' or need kinds of tensors that there are not
_FAMILIES = {
    r".*(quantize|qparams|quant$|^q_|^int_repr|fbgemm_|fake_quant).*": "integers and a scale",
    r"(cudnn|miopen|mkldnn)_.*": "the function of that name without the library's",
    r"(sym_.*|Sym(Bool|Float|Int))": "Python numbers: sizes are known here",
    r"(.*sparse.*|.*_indices_copy|values_copy|ds?mm|h?s?p?mm|sspaddmm|saddmm|hspmm|hsmm|s?smm)": (
        "dense tensors, or scipy.sparse"
    ),
    r".*Storage": "x.numpy()",
    r"batch_norm_.*": "hybrid.batch_norm",
}


def torch_way(name: str, known: Container[str], methods: Container[str]) -> str | None:
    """What to write for a name of `torch`; `known`: the functions that there are here."""
    if name in TORCH:
        return TORCH[name]
    for pattern, way in _FAMILIES.items():
        if re.fullmatch(pattern, name):
            return way
    for ending, form in ((r"_copy", "{}.clone()"), (r"_", "x.assign({})")):
        base = name.removesuffix(ending)
        if base == name:
            continue
        if base in known:
            return form.format(f"hybrid.{base}(x)")
        if base in methods:
            return form.format(f"x.{base}(...)")
        if base in TORCH:
            return TORCH[base]
    return None
