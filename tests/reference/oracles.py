"""Every measure in the words of packages nobody here wrote."""

from __future__ import annotations

import dcor
import networkx
import numpy as np
import ot
import scipy.linalg
import scipy.optimize
import scipy.spatial
import scipy.stats
from scipy.spatial.distance import pdist, squareform
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import mutual_info_score, r2_score
from sklearn.metrics.pairwise import cosine_similarity, linear_kernel, rbf_kernel
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.preprocessing import KernelCenterer, StandardScaler
from statsmodels.multivariate.cancorr import CanCorr


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


def condensed(x, metric):
    """Dissimilarities of the pairs of rows; equal ones may differ by rounding."""
    if metric == "mahalanobis":
        return pdist(principal_components(x, 1.0) / np.linalg.norm(principal_components(x, 1.0), axis=0))
    return pdist(centred(x) if metric == "euclidean" else x, metric)


def rsa(x, y, metric, compare):
    """Undefined where all pairs are equally far apart."""
    a, b = condensed(x, metric), condensed(y, metric)
    if not min(np.ptp(a), np.ptp(b)) > 1e-9:
        return np.nan
    return compare(np.round(a / a.max(), 11), np.round(b / b.max(), 11))


def statistic(name):
    return lambda a, b: getattr(scipy.stats, name)(a, b).statistic


def cosine(a, b):
    return cosine_similarity(a.reshape(1, -1), b.reshape(1, -1)).item()


def rsm_norm(x, y):
    return np.linalg.norm(squareform(pdist(x)) - squareform(pdist(y)))


def deconfounded(x, y, inputs):
    """Residuals of a least-squares fit of the entries of one Gram matrix to those of another."""
    k0 = linear(inputs).reshape(-1, 1)

    def rest(x):
        k = linear(x).reshape(-1, 1)
        return (k - LinearRegression(fit_intercept=False).fit(k0, k).predict(k0)).reshape(len(x), len(x))

    return biased_cka(rest(x), rest(y))


def confounder(n):
    return np.random.default_rng(99).normal(size=(n, 4))


def nuclear(x, y):
    """Of unit Frobenius norms; scipy gives the nuclear norm with the rotation."""
    width = max(x.shape[1], y.shape[1])
    x, y = (np.hstack([m, np.zeros((len(m), width - m.shape[1]))]) for m in (x, y))
    return scipy.linalg.orthogonal_procrustes(x / np.linalg.norm(x), y / np.linalg.norm(y))[1]


def size_and_shape(x, y):
    width = max(x.shape[1], y.shape[1])
    x, y = (StandardScaler(with_std=False).fit_transform(m) for m in (x, y))
    x, y = (np.hstack([m, np.zeros((len(m), width - m.shape[1]))]) for m in (x, y))
    return np.linalg.norm(x @ scipy.linalg.orthogonal_procrustes(x, y)[0] - y)


def partly_whitened(x, alpha):
    x = centred(x)
    u, s, vt = scipy.linalg.svd(x, full_matrices=False)
    u, s, vt = (part[..., : np.linalg.matrix_rank(x, rtol=1e-6)] for part in (u, s, vt.T))
    return (alpha * x / np.sqrt(np.mean(s**2))) + (1 - alpha) * u @ vt.T


def shape_angle(x, y, alpha):
    return np.arccos(min(1.0, nuclear(partly_whitened(x, alpha), partly_whitened(y, alpha))))


def gulp(x, y, penalty):
    x, y = (m / np.sqrt(np.mean(np.sum(m**2, axis=1))) for m in map(centred, (x, y)))
    n = len(x)

    def shrunk(m):
        return m.T @ m / n + penalty * np.eye(m.shape[1])

    a, b = (scipy.linalg.solve(shrunk(m), m.T @ m / n) for m in (x, y))
    cross = scipy.linalg.solve(shrunk(x), x.T @ y / n) @ scipy.linalg.solve(shrunk(y), y.T @ x / n)
    return np.sqrt(max(np.trace(a @ a) + np.trace(b @ b) - 2 * np.trace(cross), 0))


def left_out(target, predictors, fraction):
    """Every example predicted by a fit to all others."""
    x, y = centred(target), centred(predictors)
    penalty = fraction * np.sum(y**2) / np.linalg.matrix_rank(y, rtol=1e-6)
    fitted = cross_val_predict(Ridge(alpha=penalty, solver="cholesky"), y, x, cv=LeaveOneOut()).reshape(x.shape)
    means = np.stack([np.delete(x, i, axis=0).mean(axis=0) for i in range(len(x))])
    return 1 - np.sum((x - fitted) ** 2) / np.sum((x - means) ** 2)


def aligned(x, y):
    x, y = centred(x), centred(y)
    width = max(x.shape[1], y.shape[1])
    x, y = (np.hstack([m, np.zeros((len(m), width - m.shape[1]))]) for m in (x, y))
    return np.mean(np.diag(cosine_similarity(x @ scipy.linalg.orthogonal_procrustes(x, y)[0], y)))


def permutation_procrustes(x, y):
    x, y = (centred(m) / np.linalg.norm(centred(m)) for m in (x, y))
    products = x.T @ y
    rows, columns = scipy.optimize.linear_sum_assignment(-products)
    return np.sqrt(max(2 - 2 * products[rows, columns].sum(), 0))


def soft_matching(x, y):
    x, y = (centred(m) / np.linalg.norm(centred(m)) * np.sqrt(m.shape[1]) for m in (x, y))
    cost = ot.dist(x.T, y.T)
    return np.sqrt(max(ot.emd2([], [], cost), 0))


def neighbors(x, k):
    """Of equally similar rows the first."""
    similar = np.round(cosine_similarity(x), 10)
    np.fill_diagonal(similar, -np.inf)
    return np.argsort(-similar, axis=1, kind="stable")[:, : min(k, len(x) - 1)]


def over_neighbors(x, y, k, one):
    return np.mean([one(list(a), list(b)) for a, b in zip(neighbors(x, k), neighbors(y, k), strict=True)])


def jaccard(a, b):
    return len({*a} & {*b}) / len({*a} | {*b})


def rank_agreement(a, b):
    both = {*a} & {*b}
    if not both:
        return 0.0
    ranks = [(a.index(j) + 1, b.index(j) + 1) for j in both]
    return sum(2 / ((1 + abs(r - s)) * (r + s)) for r, s in ranks) / sum(1 / m for m in range(1, len(both) + 1))


def second_order(x, y, k):
    a, b = cosine_similarity(x), cosine_similarity(y)
    union = [sorted({*i} | {*j}) for i, j in zip(neighbors(x, k), neighbors(y, k), strict=True)]
    return np.mean([cosine(a[i, some], b[i, some]) for i, some in enumerate(union)])


def cknna(x, y, k):
    def masked(x):
        mask = np.zeros((len(x), len(x)))
        np.put_along_axis(mask, neighbors(x, k), 1, axis=1)
        return mask, cosine_similarity(x)

    def unbiased(k, other):
        n = len(k)
        cross = np.ones(n) @ (k @ other + other @ k) @ np.ones(n) / 2
        return np.trace(k @ other) + k.sum() * other.sum() / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)

    (m, k), (o, other) = masked(x), masked(y)
    return unbiased(m * o * k, m * o * other) / np.sqrt(unbiased(m * k, m * k) * unbiased(o * other, o * other))


def uniformity(x):
    return np.log(np.mean(np.exp(-2 * squareform(pdist(x, "sqeuclidean")))))


def concentricity(x):
    return np.mean(cosine_similarity(x, x.mean(axis=0, keepdims=True)))
