"""Values of every measure computed with packages nobody here wrote, frozen in values.json.

Run in an environment of its own, in this folder:

    python -m venv oracle && oracle/bin/pip install -r requirements.txt && oracle/bin/python make.py

No line of homolog is used: the data come from ../cases.py, which knows NumPy alone, and are frozen in data.npz too.
"""

from __future__ import annotations

import json
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import dcor
import networkx
import numpy as np
import scipy.linalg
import scipy.spatial
import scipy.stats
from scipy.spatial.distance import pdist, squareform
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import mutual_info_score, r2_score
from sklearn.metrics.pairwise import cosine_similarity, linear_kernel, rbf_kernel
from sklearn.preprocessing import KernelCenterer, StandardScaler
from statsmodels.multivariate.cancorr import CanCorr

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from cases import CASES  # noqa: E402


def centred(x):
    """Centre and bring to about 1, which the tolerances of the packages expect; no value below depends on the scale."""
    x = StandardScaler(with_std=False).fit_transform(x)
    return x / np.abs(x).max()


def linear(x):
    return linear_kernel(centred(x))


def rbf(x, fraction):
    x = centred(x)
    return rbf_kernel(x, gamma=1 / (2 * fraction**2 * np.median(squareform(pdist(x, "sqeuclidean")))))


def biased_cka(k, other):
    return cosine_similarity(*(KernelCenterer().fit_transform(m).reshape(1, -1) for m in (k, other))).item()


def u_centered(k):
    """dcor centres distance matrices, whose diagonal is 0: its sums would count any other."""
    return dcor.u_centered(k - np.diag(np.diag(k)))


def debiased_cka(k, other):
    k, other = u_centered(k), u_centered(other)
    return dcor.u_product(k, other) / np.sqrt(dcor.u_product(k, k) * dcor.u_product(other, other))


def biased_hsic(x, y):
    k, other = (KernelCenterer().fit_transform(linear_kernel(m)) for m in (x, y))
    return np.sum(k * other) / (len(x) - 1) ** 2


def debiased_hsic(x, y):
    x, y = (StandardScaler(with_std=False).fit_transform(m) for m in (x, y))
    return dcor.u_product(u_centered(linear_kernel(x)), u_centered(linear_kernel(y)))


def principal_components(x, threshold):
    """The scores that explain a share of the variance; 1.0 keeps all that are not rounding."""
    if threshold < 1:
        return PCA(threshold, svd_solver="full").fit_transform(centred(x))
    x = centred(x)
    return PCA(int(np.linalg.matrix_rank(x, rtol=1e-6)), svd_solver="full").fit_transform(x)


def angles(x, y, threshold=1.0):
    return np.cos(scipy.linalg.subspace_angles(principal_components(x, threshold), principal_components(y, threshold)))


def canonical_correlations(x, y):
    return CanCorr(principal_components(x, 1.0), principal_components(y, 1.0)).cancorr


def projection_weighted(x, y):
    scores = principal_components(x, 1.0)
    fitted = CanCorr(principal_components(y, 1.0), scores)
    variables = scores @ fitted.x_cancoef
    variables = variables[:, : len(fitted.cancorr)] / np.linalg.norm(variables, axis=0)[: len(fitted.cancorr)]
    weights = np.abs(variables.T @ centred(x)).sum(axis=1)
    return weights @ fitted.cancorr / weights.sum()


def regression(x, y):
    x, y = centred(x), centred(y)
    return r2_score(x, LinearRegression().fit(y, x).predict(y), multioutput="variance_weighted")


def procrustes(x, y):
    width = max(x.shape[1], y.shape[1])
    x, y = (np.hstack([m, np.zeros((len(m), width - m.shape[1]))]) for m in map(centred, (x, y)))
    disparity = scipy.spatial.procrustes(x, y)[2]  # 1 - nuclear norm², of unit Frobenius norms
    return np.sqrt(2 - 2 * np.sqrt(1 - disparity))


def unit_correlations(x, y):
    with np.errstate(invalid="ignore"):
        both = np.corrcoef(centred(x), centred(y), rowvar=False)
    return np.nan_to_num(both[: x.shape[1], x.shape[1] :])


def bipartite(x, y):
    return matched(unit_correlations(x, y))


def ridge_cka(x, y, fraction):
    """CKA of the matrices that map a target to its ridge fit."""

    def hat(x):
        x = centred(x)
        kappa = fraction * np.sum(x**2) / np.linalg.matrix_rank(x, rtol=1e-6)
        return Ridge(alpha=kappa, fit_intercept=False, solver="svd").fit(x, np.eye(len(x))).predict(x)

    return cosine_similarity(hat(x).reshape(1, -1), hat(y).reshape(1, -1)).item()


def gaussian_information(x, y):
    return -0.5 * np.sum(np.log(1 - canonical_correlations(x, y) ** 2))


def matched(matrix):
    graph = networkx.Graph()
    for (i, j), value in np.ndenumerate(matrix):
        graph.add_edge(("x", i), ("y", j), weight=float(value))
    edges = networkx.max_weight_matching(graph, maxcardinality=True)
    return np.mean([graph.edges[edge]["weight"] for edge in edges])


def neuron_information(x, y):
    n = len(x)

    def binned(unit):
        unit = unit - unit.mean() if np.ptp(unit) > 1e-9 * np.abs(unit).max() else np.zeros(n)
        return np.floor((scipy.stats.rankdata(unit) - 0.5) / n * 10).astype(int)

    def one(a, b):
        bias = (len(set(a)) - 1) * (len(set(b)) - 1) / (2 * n)
        return mutual_info_score(a, b) - bias

    return matched(np.array([[one(binned(a), binned(b)) for b in y.T] for a in x.T]))


def maximum_match(x, y, epsilon):
    """Unit after unit, by least squares."""
    x, y = ([unit for unit in side.T if np.any(unit)] for side in (x, y))
    total = len(x) + len(y)

    def far(unit, others):
        if not others:
            return True
        span = np.stack(others, axis=1) / np.abs(others).max()
        fitted = span @ scipy.linalg.lstsq(span, unit, cond=1e-6)[0]
        return np.linalg.norm(unit - fitted) > (epsilon + 1e-9) * np.linalg.norm(unit)

    while True:
        kept_x = [unit for unit in x if not far(unit, y)]
        kept_y = [unit for unit in y if not far(unit, kept_x)]
        if len(kept_x) == len(x) and len(kept_y) == len(y):
            return (len(x) + len(y)) / total
        x, y = kept_x, kept_y


TABLE = {
    "hsic": ("scikit-learn", biased_hsic),
    "hsic(estimator=debiased)": ("dcor", debiased_hsic),
    "cka": ("scikit-learn", lambda x, y: biased_cka(linear(x), linear(y))),
    "cka(estimator=debiased)": ("dcor", lambda x, y: debiased_cka(linear(x), linear(y))),
    "cka(kernel=rbf)": ("scikit-learn", lambda x, y: biased_cka(rbf(x, 1.0), rbf(y, 1.0))),
    "cka(kernel=rbf,median_fraction=0.4)": ("scikit-learn", lambda x, y: biased_cka(rbf(x, 0.4), rbf(y, 0.4))),
    "cka(kernel=rbf,estimator=debiased)": ("dcor", lambda x, y: debiased_cka(rbf(x, 1.0), rbf(y, 1.0))),
    "distance correlation": ("dcor", lambda x, y: dcor.distance_correlation_sqr(centred(x), centred(y))),
    "debiased distance correlation": ("dcor", lambda x, y: dcor.u_distance_correlation_sqr(centred(x), centred(y))),
    "cca": ("scipy", lambda x, y: np.mean(angles(x, y) ** 2)),
    "cca(statistic=rho)": ("statsmodels", lambda x, y: np.mean(canonical_correlations(x, y))),
    "svcca": ("scikit-learn", lambda x, y: np.mean(angles(x, y, 0.99) ** 2)),
    "svcca(threshold=0.9,statistic=rho)": ("scikit-learn", lambda x, y: np.mean(angles(x, y, 0.9))),
    "pwcca": ("statsmodels", projection_weighted),
    "linear_regression": ("scikit-learn", regression),
    "procrustes_distance": ("scipy", procrustes),
    "canonical_ridge": ("scikit-learn", lambda x, y: ridge_cka(x, y, 1.0)),
    "canonical_ridge(regularization=0.01)": ("scikit-learn", lambda x, y: ridge_cka(x, y, 0.01)),
    "gaussian_mutual_information": ("statsmodels", gaussian_information),
    "neuron_mutual_information": ("scikit-learn", neuron_information),
    "maximum_match": ("scipy", lambda x, y: maximum_match(x, y, 0.3)),
    "maximum_match(epsilon=0.6)": ("scipy", lambda x, y: maximum_match(x, y, 0.6)),
    "bipartite_match": ("networkx", bipartite),
    "semi_match": ("numpy", lambda x, y: unit_correlations(x, y).max(axis=1).mean()),
}


def main() -> None:
    data = {case: make(np.random.default_rng(20261124)) for case, make in CASES.items()}
    values = {}
    for form, (package, oracle) in TABLE.items():
        found = {}
        for case, (x, y) in data.items():
            try:
                value = float(oracle(x, y))
                if np.isfinite(value):
                    found[case] = value
            except (ValueError, ArithmeticError) as error:
                print(f"{form} {case}: {package} refuses: {error}")
        values[form] = {"oracle": f"{package} {version(package)}", "values": found}
    arrays = {f"{case} {side}": pair[i] for case, pair in data.items() for i, side in enumerate("xy")}
    np.savez_compressed(HERE / "data.npz", **arrays)
    (HERE / "values.json").write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)
    main()
