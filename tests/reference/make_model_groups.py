"""Freeze what scikit-bio says of distances between models: PERMANOVA, PERMDISP and Mantel correlations.

    python -m venv oracle && oracle/bin/pip install -r requirements.txt && oracle/bin/python make_model_groups.py

Writes model_groups.json beside this file.
"""

from __future__ import annotations

import json
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
from skbio.stats.distance import DistanceMatrix, mantel, permanova, permdisp


def distances_of(points: np.ndarray) -> np.ndarray:
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=-1))


def mirrored(values: np.ndarray) -> np.ndarray:
    found = (values + values.T) / 2
    np.fill_diagonal(found, 0)
    return found


def case(distances: np.ndarray, groups: list[str], *, spread: bool = False) -> dict[str, object]:
    matrix = DistanceMatrix(mirrored(distances))
    found = {
        "distances": matrix.data.tolist(),
        "groups": groups,
        "pseudo_f": float(permanova(matrix, groups, permutations=0)["test statistic"]),
    }
    if spread:  # its centres are those of homolog where distances are Euclidean and groups equally large
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            test = permdisp(matrix, groups, test="centroid", permutations=0, method="eigh")
        found["permdisp_f"] = float(test["test statistic"])
    return found


def main() -> None:
    rng = np.random.default_rng(0)
    shifted, wider, few = rng.normal(size=(10, 4)), rng.normal(size=(12, 6)), rng.normal(size=(7, 3))
    shifted[5:] += 0.7
    wider[3:7] *= 2
    cases = {
        "two groups of five": case(distances_of(shifted), ["a"] * 5 + ["b"] * 5, spread=True),
        "groups of three, four and five": case(distances_of(wider), ["a"] * 3 + ["b"] * 4 + ["c"] * 5),
        "a group of one": case(distances_of(few), ["a"] * 3 + ["b"] * 3 + ["c"]),
        "distances that no points have": case(rng.uniform(0.5, 1.4, size=(9, 9)), list("abcabcabc")),
    }
    a = rng.uniform(size=(8, 8))
    a, b = mirrored(a), mirrored(a + rng.uniform(size=(8, 8)))
    matrices = DistanceMatrix(a), DistanceMatrix(b)
    correlations = {m: float(mantel(*matrices, method=m, permutations=0)[0]) for m in ("pearson", "spearman")}
    frozen = {
        "oracle": f"scikit-bio {version('scikit-bio')}",
        "permanova": cases,
        "mantel": {"a": a.tolist(), "b": b.tolist(), **correlations},
    }
    Path(__file__).with_name("model_groups.json").write_text(json.dumps(frozen, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
