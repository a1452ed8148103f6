"""placeholder"""

from __future__ import annotations

from ..core import trees
from ..ops.axes.views import moveaxis
from ..ops.build.join import stack


def vmap(fun, in_axes=0, out_axes=0):
    def wrapped(x):
        rows = [fun(x[i]) for i in range(x.shape[0])]
        flat = [trees.flatten(r) for r in rows]
        return trees.unflatten(
            flat[0][1], [moveaxis(stack(list(c)), 0, out_axes) for c in zip(*[f[0] for f in flat])]
        )

    return wrapped
