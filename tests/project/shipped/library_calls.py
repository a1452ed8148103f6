"""Calls of scikit-learn and SciPy on tensors, each compared with the same call on NumPy's arrays.

Run as a program, with SCIPY_ARRAY_API=1 set before SciPy is imported; prints a line of JSON for each
call: its name and what was wrong, or null.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import hybrid as hb

Call = Callable[..., Any]


def leaves(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in leaves(part)]
    if hasattr(value, "statistic"):
        return leaves((value.statistic, value.pvalue))
    return [value]


def problem(call: Call, arrays: list[np.ndarray]) -> str | None:
    """What differs, or the error; results are tensors where NumPy's are arrays."""
    wanted = leaves(call(*arrays))
    try:
        found = leaves(call(*map(hb.asarray, arrays)))
        for ours, theirs in zip(found, wanted, strict=True):
            if isinstance(theirs, np.ndarray) and not isinstance(ours, hb.Tensor):
                return f"a {type(ours).__name__} instead of a tensor"
            np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-5, atol=1e-8)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return None


def of_learning() -> Iterator[tuple[str, Call]]:
    """Estimators and metrics over (features, classes, targets)."""
    from sklearn import decomposition, linear_model, metrics, model_selection, preprocessing
    from sklearn import discriminant_analysis as analysis

    def transformed(maker: Any, **how: Any) -> Call:
        return lambda x, classes, targets: maker(**how).fit_transform(x)

    yield "PCA", transformed(decomposition.PCA, n_components=3, svd_solver="full")
    yield (
        "PCA by covariance",
        transformed(decomposition.PCA, n_components=3, svd_solver="covariance_eigh"),
    )
    for name in "MinMaxScaler MaxAbsScaler StandardScaler Normalizer PolynomialFeatures".split():
        yield name, transformed(getattr(preprocessing, name))
    yield "LabelEncoder", lambda x, y, r: preprocessing.LabelEncoder().fit_transform(y)
    yield (
        "Ridge",
        lambda x, y, r: (fitted := linear_model.Ridge(solver="svd").fit(x, r)) and fitted.coef_,
    )
    yield (
        "LinearDiscriminantAnalysis",
        lambda x, y, r: analysis.LinearDiscriminantAnalysis().fit(x, y).predict(x),
    )
    yield "split", lambda x, y, r: model_selection.train_test_split(x, random_state=0)
    for name in "accuracy_score f1_score recall_score confusion_matrix zero_one_loss".split():
        yield name, lambda x, y, r, of=getattr(metrics, name): of(y, r > r.mean())
    for name in "mean_squared_error mean_absolute_error r2_score max_error".split():
        yield name, lambda x, y, r, of=getattr(metrics, name): of(r, r * 1.1)
    for name in "euclidean_distances cosine_similarity rbf_kernel laplacian_kernel".split():
        yield name, lambda x, y, r, of=getattr(metrics.pairwise, name): of(x)


def of_science() -> Iterator[tuple[str, Call]]:
    """Functions over (a line, another one, a matrix) of positive numbers."""
    from scipy import (
        fft,
        special,
        stats,
    )

    for name in """gmean hmean skew kurtosis variation zscore moment tmean tvar sem entropy skewtest
            jarque_bera iqr median_abs_deviation circmean rankdata mode""".split():
        yield f"stats.{name}", lambda a, b, m, of=getattr(stats, name): of(a)
    for name in "ttest_ind ttest_rel pearsonr mannwhitneyu ks_2samp wilcoxon".split():
        yield f"stats.{name}", lambda a, b, m, of=getattr(stats, name): of(a, b)
    for name in "log_ndtr ndtr ndtri erf i0 i1e gammaln expit logit entr".split():
        yield f"special.{name}", lambda a, b, m, of=getattr(special, name): of(a / 2)
    for name in "gammainc gammaincc rel_entr xlogy".split():
        yield f"special.{name}", lambda a, b, m, of=getattr(special, name): of(a, b)
    for name in "softmax logsumexp".split():
        yield f"special.{name}", lambda a, b, m, of=getattr(special, name): of(m, axis=0)
    for name in "fft rfft fft2 dct dst".split():
        yield f"fft.{name}", lambda a, b, m, of=getattr(fft, name): of(m)
    yield from of_grids()


def of_grids() -> Iterator[tuple[str, Call]]:
    """Functions of signals, images and integrals, over the same."""
    from scipy import cluster, differentiate, integrate, ndimage, signal

    for name in "convolve fftconvolve correlate".split():
        yield f"signal.{name}", lambda a, b, m, of=getattr(signal, name): of(a, b)
    yield "signal.lfilter", lambda a, b, m: signal.lfilter(b[:3], a[:3], a)
    yield "signal.savgol_filter", lambda a, b, m: signal.savgol_filter(a, 5, 2)
    yield "signal.hilbert", lambda a, b, m: signal.hilbert(a)
    for name in "gaussian_filter uniform_filter zoom rotate".split():
        yield f"ndimage.{name}", lambda a, b, m, of=getattr(ndimage, name): of(m, 2)
    yield "integrate.simpson", lambda a, b, m: integrate.simpson(a)
    yield (
        "integrate.tanhsinh",
        lambda a, b, m: integrate.tanhsinh(lambda x: x**2, a * 0, a).integral,
    )
    yield (
        "differentiate.derivative",
        lambda a, b, m: differentiate.derivative(lambda x: x**3, a).df,
    )
    yield "cluster.linkage", lambda a, b, m: cluster.hierarchy.linkage(m)


def main() -> None:
    from sklearn import set_config

    warnings.simplefilter("ignore")
    set_config(array_api_dispatch=True)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((40, 5))
    classes = (features[:, 0] + features[:, 1] > 0).astype(np.int64)
    learning = [features, classes, features @ np.arange(5.0) + 0.1]
    science = [rng.random(20) + 0.1, rng.random(20) + 0.1, rng.random((6, 6)) + 0.1]
    for calls, arrays in ((of_learning(), learning), (of_science(), science)):
        for name, call in calls:
            print(json.dumps([name, problem(call, arrays)]), flush=True)


if __name__ == "__main__":
    main()
