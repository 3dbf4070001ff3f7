"""Results made to show one thing: values, p-values and levels as asked, everything else as `homolog.compare` writes it."""

from __future__ import annotations

import json

import numpy as np
import xarray

import homolog as hl

DEBIASED = "cka(estimator=debiased)"
ABOUT = {"kind": "similarity", "range": "[-1.0, 1.0]", "symmetric": np.int32(1), "formula": "f", "reference": "r"}


def names_of(count, start="l"):
    return [f"{start}{i}" for i in range(count)]


def made(
    values, p=None, level=None, rows=None, columns=None, measure=DEBIASED, warned=(), n=500, features=10, **changes
):
    """A result of two models; p is one number for all pairs, or a matrix."""
    values = np.asarray(values, dtype=float)
    sides = [rows or names_of(len(values)), columns or names_of(values.shape[1])]
    about = ABOUT | {"measure": measure} | {key: changes.pop(key) for key in ("kind", "range") if key in changes}
    dims = ("layer_a", "layer_b")
    variables = {measure: (dims, values, about)}
    for kind, matrix in (("p", p), ("p_fdr", p), ("null", level)):
        if matrix is not None:
            matrix = np.broadcast_to(np.asarray(matrix, dtype=float), values.shape).copy()
            variables[f"{measure}_{kind}"] = (dims, matrix, {"companion_of": measure, "method": "moments"})
    coordinates = {f"layer_{side}": layers for side, layers in zip("ab", sides, strict=True)}
    for side, layers in zip("ab", sides, strict=True):
        coordinates[f"features_{side}"] = (f"layer_{side}", np.full(len(layers), features, dtype=np.int32))
    attributes = {
        "homolog_version": "0",
        "same_model": np.int32(0),
        "n_examples": np.int32(n),
        "measures": json.dumps([measure]),
        "warnings": json.dumps([[category, "said"] for category in warned]),
        "model_a": "base",
        "model_b": "tuned",
        "activations_a": "{}",
        "activations_b": "{}",
        "row_identity": "digests of inputs",
    }
    return xarray.Dataset(variables, coordinates, attributes | changes)


def made_of_many(pairs, layers, **options):
    """A result of many models: (model, model) → the values of their layers."""
    models = list(dict.fromkeys(model for pair in pairs for model in pair))
    width = len(layers)
    whole = np.eye(width * len(models))
    for (first, second), values in pairs.items():
        i, j = (models.index(model) * width for model in (first, second))
        whole[i : i + width, j : j + width] = values
        whole[j : j + width, i : i + width] = np.transpose(values)
    count = len(models)
    result = made(whole, rows=names_of(len(whole)), columns=names_of(len(whole)), same_model=np.int32(1), **options)
    result = result.rename_dims(layer_a="a", layer_b="b").drop_vars(["layer_a", "layer_b"])
    for side in "ab":
        result[f"layer_{side}"] = (side, layers * count)
        result[f"model_{side}"] = (side, [model for model in models for _ in layers])
    result = result.set_coords([f"{what}_{side}" for what in ("layer", "model") for side in "ab"])
    result.attrs["models"] = json.dumps({model: {} for model in models})
    return result


def in_order(rows, columns, best=0.9, width=0.1):
    """Values that fall off from the diagonal."""
    places = np.linspace(0, 1, rows)[:, None], np.linspace(0, 1, columns)[None, :]
    return best - width - 0.6 * np.abs(places[0] - places[1]) + width * (rows == columns) * np.eye(rows, columns)


def sentence_of(result, text, **options):
    """The sentence of a summary that holds a text, or nothing."""
    found = [each for each in hl.summary(result, **options) if text in each]
    assert len(found) <= 1, found
    return found[0] if found else ""
