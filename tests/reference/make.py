"""Values of every measure computed with packages nobody here wrote, frozen in values.json.

Run in an environment of its own, in this folder:

    python -m venv oracle && oracle/bin/pip install -r requirements.txt && oracle/bin/python make.py

No line of homolog is used: the data come from ../representation_pairs.py, which knows NumPy alone, and are frozen in
data.npz too; oracles.py says how each package is asked.
"""

from __future__ import annotations

import json
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import dcor
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from oracles import (  # noqa: E402
    aligned,
    angles,
    biased_cka,
    biased_hsic,
    bipartite,
    canonical_correlations,
    centred,
    cknna,
    concentricity,
    confounder,
    cosine,
    debiased_cka,
    debiased_hsic,
    deconfounded,
    gaussian_information,
    gulp,
    jaccard,
    left_out,
    linear,
    maximum_match,
    neuron_information,
    nuclear,
    over_neighbors,
    permutation_procrustes,
    principal_components,
    procrustes,
    projection_weighted,
    rank_agreement,
    rbf,
    regression,
    ridge_cka,
    rsa,
    rsm_norm,
    second_order,
    shape_angle,
    size_and_shape,
    soft_matching,
    statistic,
    uniformity,
    unit_correlations,
)
from representation_pairs import CASES  # noqa: E402

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
    "distance_correlation": ("dcor", lambda x, y: dcor.distance_correlation(centred(x), centred(y))),
    "distance_correlation(estimator=debiased)": (
        "dcor",
        lambda x, y: dcor.u_distance_correlation_sqr(centred(x), centred(y)),
    ),
    "deconfounded_cka": ("scikit-learn", lambda x, y: deconfounded(x, y, confounder(len(x)))),
    "rsa": ("scipy", lambda x, y: rsa(x, y, "correlation", statistic("spearmanr"))),
    "rsa(comparison=pearson)": ("scipy", lambda x, y: rsa(x, y, "correlation", statistic("pearsonr"))),
    "rsa(comparison=kendall)": ("scipy", lambda x, y: rsa(x, y, "correlation", statistic("kendalltau"))),
    "rsa(comparison=cosine)": ("scikit-learn", lambda x, y: rsa(x, y, "correlation", cosine)),
    "rsa(dissimilarity=euclidean)": ("scipy", lambda x, y: rsa(x, y, "euclidean", statistic("spearmanr"))),
    "rsa(dissimilarity=euclidean,comparison=kendall)": (
        "scipy",
        lambda x, y: rsa(x, y, "euclidean", statistic("kendalltau")),
    ),
    "rsa(dissimilarity=cosine)": ("scipy", lambda x, y: rsa(x, y, "cosine", statistic("spearmanr"))),
    "rsa(dissimilarity=cosine,comparison=pearson)": ("scipy", lambda x, y: rsa(x, y, "cosine", statistic("pearsonr"))),
    "rsa(dissimilarity=mahalanobis)": ("scipy", lambda x, y: rsa(x, y, "mahalanobis", statistic("spearmanr"))),
    "rsa(dissimilarity=mahalanobis,comparison=cosine)": ("scikit-learn", lambda x, y: rsa(x, y, "mahalanobis", cosine)),
    "rsm_norm_difference": ("scipy", rsm_norm),
    "bures_similarity": ("scipy", lambda x, y: nuclear(centred(x), centred(y))),
    "size_and_shape_distance": ("scipy", size_and_shape),
    "angular_shape_distance": ("scipy", lambda x, y: shape_angle(x, y, 1.0)),
    "angular_shape_distance(alpha=0.5)": ("scipy", lambda x, y: shape_angle(x, y, 0.5)),
    "eigenspace_overlap": (
        "scipy",
        lambda x, y: np.sum(angles(x, y) ** 2) / max(principal_components(m, 1.0).shape[1] for m in (x, y)),
    ),
    "gulp_distance": ("scipy", lambda x, y: gulp(x, y, 0.01)),
    "linear_predictivity": ("scikit-learn", lambda x, y: left_out(x, y, 0.01)),
    "linear_predictivity(regularization=1.0)": ("scikit-learn", lambda x, y: left_out(x, y, 1.0)),
    "aligned_cosine": ("scipy", aligned),
    "soft_correlation_match": (
        "numpy",
        lambda x, y: (unit_correlations(x, y).max(axis=1).mean() + unit_correlations(x, y).max(axis=0).mean()) / 2,
    ),
    "permutation_procrustes_distance": ("scipy", permutation_procrustes),
    "soft_matching_distance": ("POT", soft_matching),
    "mutual_knn": ("scikit-learn", lambda x, y: over_neighbors(x, y, 10, lambda a, b: len({*a} & {*b}) / len(a))),
    "mutual_knn(k=3)": ("scikit-learn", lambda x, y: over_neighbors(x, y, 3, lambda a, b: len({*a} & {*b}) / len(a))),
    "jaccard_knn": ("scikit-learn", lambda x, y: over_neighbors(x, y, 10, jaccard)),
    "rank_similarity": ("scikit-learn", lambda x, y: over_neighbors(x, y, 10, rank_agreement)),
    "second_order_cosine": ("scikit-learn", lambda x, y: second_order(x, y, 10)),
    "cknna": ("scikit-learn", lambda x, y: cknna(x, y, 10)),
    "magnitude_difference": (
        "numpy",
        lambda x, y: abs(np.linalg.norm(x.mean(axis=0)) - np.linalg.norm(y.mean(axis=0))),
    ),
    "uniformity_difference": ("scipy", lambda x, y: abs(uniformity(x) - uniformity(y))),
    "concentricity_difference": ("scikit-learn", lambda x, y: abs(concentricity(x) - concentricity(y))),
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
