"""NumPy's public names that hybrid has under no name of its own, and what to write instead.

Invariant: every public name of NumPy is in `hybrid`, in this table or in `spelling.FUNCTIONS`; a
test goes through them.  What is here acts on no numbers, or on what no tensor can be.
"""

from __future__ import annotations

__all__ = ["NUMPY"]

_ROWS = {
    # files and texts
    "loadtxt genfromtxt fromregex fromfile fromstring memmap": "numpy.{}, then hybrid.asarray",
    "savetxt savez savez_compressed": "numpy.{} of x.numpy()",
    "array2string array_repr array_str": "repr(x), or numpy.{} of x.numpy()",
    "base_repr binary_repr format_float_positional format_float_scientific": "numpy.{} of numbers",
    "printoptions get_printoptions": "numpy.{}, which tensors are shown by, too",
    # how values lie in memory, and who holds them
    "may_share_memory shares_memory": "nothing of that kind: views share, other tensors never do",
    "asfortranarray isfortran require": "hybrid.asarray: how a value lies in memory cannot be seen",
    # other kinds of arrays
    "asmatrix matrix bmat": "two-dimensional tensors with @; hybrid.block of blocks",
    "ma": "masks: hybrid.where(mask, x, y), x[mask]",
    "rec recarray record": "a dict or a dataclass of tensors, one for each field",
    "char strings str_ bytes_ character flexible void object_": "numpy: tensors hold numbers only",
    "datetime64 timedelta64 datetime_as_string datetime_data busday_count busday_offset": (
        "numpy for dates, then hybrid.asarray(dates.astype('int64'))"
    ),
    "busdaycalendar is_busday isnat": "numpy for dates, then hybrid.asarray(dates.astype('int64'))",
    "poly1d polynomial": "hybrid.polyval and hybrid.polyfit, or numpy.{} with tensors as .numpy()",
    # dtypes
    "dtype": "numpy.dtype: dtypes here are NumPy's, and bfloat16 is one of them",
    "dtypes typecodes sctypeDict ScalarType typename mintypecode": "numpy.{}: dtypes are NumPy's",
    "issubdtype common_type min_scalar_type": "numpy.{} of x.dtype: dtypes are NumPy's",
    "generic number integer signedinteger unsignedinteger inexact floating": (
        "numpy.{} of x.dtype: dtypes are NumPy's"
    ),
    "complexfloating": "numpy.{} of x.dtype: dtypes are NumPy's",
    "byte": "hybrid.int8",
    "intc": "hybrid.int32",
    "intp longlong": "hybrid.int64",
    "ubyte": "hybrid.uint8",
    "ushort": "hybrid.uint16",
    "uintc": "hybrid.uint32",
    "uint uintp ulong ulonglong": "hybrid.uint64",
    "single": "hybrid.float32",
    "csingle": "hybrid.complex64",
    "cdouble": "hybrid.complex128",
    "longdouble float128 clongdouble complex256": "hybrid.float64: there is no wider dtype",
    "True_ False_": "True and False",
    # loops in Python
    "nditer nested_iters flatiter ndenumerate": "operations on whole tensors, or x.tolist()",
    "ndindex": "numpy.ndindex(x.shape)",
    "broadcast": "hybrid.broadcast_arrays, or hybrid.broadcast_shapes",
    "iterable": "isinstance(x, collections.abc.Iterable)",
    "vectorize frompyfunc": "operations on whole tensors, which @hybrid.function fuses",
    "ufunc": "the functions of hybrid, which NumPy's ufuncs call for tensors",
    "s_ index_exp": "numpy.{}, whose slices index tensors",
    # floating-point errors, which nothing here raises
    "errstate seterr geterr seterrcall geterrcall setbufsize getbufsize": (
        "hybrid.detect_nan: operations raise and warn of nothing"
    ),
    # the library itself
    "emath": "hybrid.asarray(x, dtype='complex64') first: results are complex where x is",
    "exceptions": "hybrid.HybridError and those made from it (ShapeError, DTypeError, ...)",
    "show_config show_runtime": "hybrid.describe_system()",
    "get_include ctypeslib f2py lib test testing typing little_endian": "numpy.{}",
    "info": "help(function)",
    "einsum_path": "hybrid.einsum: paths are found by itself",
    "sort_complex": "hybrid.sort of real tensors",
}
NUMPY = {name: advice.format(name) for names, advice in _ROWS.items() for name in names.split()}
