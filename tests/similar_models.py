"""Similarities of models made to show one thing."""

from __future__ import annotations

import json

import numpy as np
import xarray

CKA = "cka(estimator=debiased)"
ABOUT = {"kind": "similarity", "range": "[-1.0, 1.0]", "symmetric": np.int32(1), "formula": "f", "reference": "r"}


def made(values, names=None, measure=CKA, **beside):
    """Return what `homolog.model_similarity` returns; `beside` are companions, such as p_fdr."""
    values = np.asarray(values, dtype=float)
    names = names or [f"model {i}" for i in range(len(values))]
    sides = ("model_a", "model_b")
    about = (
        ABOUT | {"measure": measure, "unchanged_by": ""} | {k: beside.pop(k) for k in ("kind", "range") if k in beside}
    )
    variables = {measure: (sides, values, about)}
    for kind, matrix in beside.items():
        extra = {"kind": "similarity", "range": "[0.0, 1.0]"} if kind == "calibrated" else {"method": "permutation"}
        filled = np.broadcast_to(np.asarray(matrix, dtype=float), values.shape).copy()
        np.fill_diagonal(filled, np.nan)
        variables[f"{measure}_{kind}"] = (sides, filled, {"companion_of": measure, **extra})
    attributes = {
        "title": "homolog model similarity",
        "homolog_version": "0",
        "by": "best_match",
        "n_examples": np.int32(500),
        "measures": json.dumps([measure]),
        "warnings": "[]",
    }
    return xarray.Dataset(variables, dict.fromkeys(sides, names), attributes)


def of_groups(labels, within=0.8, between=0.3):
    """Return similarities that are one number within groups and another between them."""
    labels = np.array(list(labels))
    found = np.where(labels[:, None] == labels, within, between)
    np.fill_diagonal(found, 1)
    return found


def of_points(points):
    """Return distances of points."""
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=-1))


def cosines(points):
    """Return similarities that are cosines."""
    unit = points / np.linalg.norm(points, axis=1)[:, None]
    found = unit @ unit.T
    np.fill_diagonal(found, 1)
    return found
