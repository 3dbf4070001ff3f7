"""Many networks as one picture: what a comparison is on average, and how far that depends on the networks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from homolog.diagnostics import give, listed
from homolog.engine.model_statistics import ATTRIBUTE
from homolog.inference.resampling import leave_one_out, standard_error
from homolog.results import arranged, between, many_models, measure_names, models_in
from homolog.warning_sentences import untested_networks

if TYPE_CHECKING:
    import xarray


def mean_over_models(
    result: xarray.Dataset, models_a: Sequence[str] | None = None, models_b: Sequence[str] | None = None
) -> xarray.Dataset:
    """Average a result of many models over pairs of different ones, layer by layer, with standard errors over models.

    Parameters
    ----------
    result
        what `homolog.compare` returned for a mapping of models.
    models_a, models_b
        the models of either side, all by default; those of one side must have layers of the same names.

    Returns
    -------
    xarray.Dataset
        As `homolog.compare` gives for two models: the mean of every measure over all pairs (A, B), A of models_a, B another one
        of models_b; so with the same models on both sides every pair counts both ways round. `<measure>_se` is the jackknife
        standard error over models, NaN where leaving one out leaves nothing. Where the two sides share no model, each side is
        resampled by itself, and one of a single model contributes nothing.

    Raises
    ------
    ValueError
        If it is not a result of many models, two models of one side differ in their layers, no pair of different models is
        left, or the sides share some models but not all.
    KeyError
        If the result lacks a model.

    Warns
    -----
    FewModelsWarning
        Where leaving one model out leaves nothing, so that standard errors are NaN.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> task = rng.normal(size=(200, 4))
    >>> networks = {seed: {"late": task + rng.normal(size=(200, 4))} for seed in ("0", "1", "2", "3")}
    >>> mean = hl.mean_over_models(hl.compare(networks, measures="cka"))
    >>> round(mean.cka.item(), 2), round(mean.cka_se.item(), 3)
    (0.25, 0.014)
    """
    result = arranged(result)
    many_models(result)
    every = models_in(result)
    sides = [every if models is None else list(dict.fromkeys(models)) for models in (models_a, models_b)]
    pairs = [(a, b) for a in sides[0] for b in sides[1] if a != b]
    if not pairs:
        raise ValueError(
            f"a mean over models needs two different models, got {' and '.join(listed(side) or 'none' for side in sides)}: name "
            f"others, or compare more."
        )
    parts = [between(result, *pair) for pair in pairs]
    for (a, b), part in zip(pairs, parts, strict=True):
        if part.sizes != parts[0].sizes or any((part[d].values != parts[0][d].values).any() for d in part.dims):
            raise ValueError(
                f"a mean over models needs layers of the same names on each side, got others in {a!r} and {b!r} than in "
                f"{pairs[0][0]!r} and {pairs[0][1]!r}: rename corresponding layers with Activations.rename."
            )
    resampled = _resampled(sides)
    if not resampled:
        give([untested_networks("standard errors of the mean over models are", _too_few(sides))])
    mean = parts[0].copy()
    # A mean of probabilities is none, nor is one of what they are judged by.
    probabilities = [
        f"{name}_{kind}"
        for name in measure_names(result)
        for kind in ("p", "p_fdr", "p_fwer", "threshold", "calibrated")
    ]
    mean = mean.drop_vars([name for name in probabilities if name in mean])
    for name in mean.data_vars:
        values = np.stack([part[name].values for part in parts])
        about = {key: value for key, value in parts[0][name].attrs.items() if key != ATTRIBUTE}
        mean[name] = (parts[0][name].dims, values.mean(axis=0), about)
        if name in measure_names(result):
            error = _error(values, resampled, pairs)
            mean[f"{name}_se"] = (parts[0][name].dims, error, {"long_name": "jackknife standard error over models"})
    names = {
        side: models[0] if len(models) == 1 else f"{len(models)} models"
        for side, models in zip("ab", sides, strict=True)
    }
    mean.attrs |= {f"model_{side}": name for side, name in names.items()} | {"averaged_pairs": np.int32(len(pairs))}
    mean.attrs |= {"averaged_models": json.dumps(sides), "same_model": np.int32(0)}
    return mean


def _resampled(sides: list[list[str]]) -> list[list[str]]:
    """Return the sets of models of which one can be left out: one set if both sides are the same models."""
    shared = set(sides[0]) & set(sides[1])
    if shared and set(sides[0]) != set(sides[1]):
        raise ValueError(
            f"the two sides of a mean over models must be the same models or share none, got {listed(sorted(shared))} on both "
            f"sides, and others on one: leave them out of one side."
        )
    fewest = 3 if shared else 2
    return [models for models in ([sides[0]] if shared else sides) if len(models) >= fewest]


def _too_few(sides: list[list[str]]) -> str:
    """Say how many models there are, and how many it takes."""
    if set(sides[0]) == set(sides[1]):
        return f"leaving one model out must leave a pair, which takes three models, got {len(sides[0])}"
    return "leaving one model out must leave a pair, which takes two models on one side, got one on each"


def _error(values: np.ndarray, resampled: list[list[str]], pairs: list[tuple[str, str]]) -> np.ndarray:
    """Return standard errors of the mean of (pairs, layers, layers) over models."""
    if not resampled:
        return np.full(values.shape[1:], np.nan)
    errors = [
        standard_error(leave_one_out(models, lambda kept: values[kept].mean(axis=0), pairs)) for models in resampled
    ]
    total: np.ndarray = np.sqrt(sum(error**2 for error in errors))
    return total
