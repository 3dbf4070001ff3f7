"""How well a linear classifier reads the labels from every layer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from homolog.activations import Activations
from homolog.analysis.probe_splits import check_apart, check_classes, set_aside, splits_of
from homolog.arrays import to_numpy
from homolog.conversion import check_labels, is_table
from homolog.engine.planning import rows_of_examples
from homolog.inference.units import independent_units, missing_among
from homolog.machine import optional
from homolog.progress import progress_bar
from homolog.sketching import refuse_sketches

if TYPE_CHECKING:
    import xarray

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


def probe(
    activations: Mapping[str, Any],
    labels: Any,
    held_out: tuple[Mapping[str, Any], Any] | float = 0.25,
    *,
    strengths: Sequence[float] = STRENGTHS,
    folds: int = 3,
    groups: Any = None,
    rng: int | np.random.Generator = 0,
    progress: bool | None = None,
) -> xarray.Dataset:
    """Fit an L2-regularised logistic regression on every layer and measure its accuracy on held-out examples.

    Parameters
    ----------
    activations
        mapping of layer names to arrays (n, p), as `homolog.extract` returns.
    labels
        (n,) class of every row.
    held_out
        activations and labels of other examples to measure on; or the share of the rows to set aside, stratified by class. Where
        rows belong together (see `groups`), the share is of the units, and whole units are set aside.
    strengths
        candidates for the strength of the penalty, the factor of ‖w‖²/2 beside the mean loss; cross-validation on the rows
        fitted on chooses.
    folds
        of the cross-validation, stratified.
    groups
        (n,) labels of units that are independent of each other, such as documents: the rows of one are never on both sides of a
        split, where a classifier could know them again. Without groups, where ids of examples repeat since rows are tokens, the
        examples are the units. They are of the rows that are split; of held-out activations only their own ids count.
    rng
        seed or NumPy generator that draws the folds and the rows set aside.
    progress
        show a progress bar; by default in a terminal and in a notebook.

    Returns
    -------
    xarray.Dataset
        Over `layer`: `accuracy` on the held-out examples in [0, 1], its standard error `accuracy_se`, binomial or, where rows
        belong together, over the held-out units, the `strength` chosen and its `validation` accuracy. Attributes: `chance`, the
        share of the most frequent class among the held-out, and the numbers of examples; `n_units` and `n_held_out_units` where
        rows belong together.

    Raises
    ------
    ValueError, TypeError, KeyError
        If rows, labels and layers do not fit together, or a class has fewer examples, or units, than there are folds.
    ImportError
        Without scikit-learn, naming what to install.

    Notes
    -----
    Features are centred and divided by one number per layer, their root mean square, so that a rotation changes nothing and
    strengths mean the same everywhere. A layer with more features than rows is rotated onto its rows, which changes no fit.
    Cost: (strengths × folds + 1) fits per layer.

    References
    ----------
    Alain & Bengio (2017), Understanding intermediate layers using linear classifier probes.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(3, size=300)
    >>> layers = {"noise": rng.normal(size=(300, 5)), "signal": np.eye(3)[labels] + 0.1 * rng.normal(size=(300, 3))}
    >>> hl.probe(layers, labels).accuracy.round(1).values
    array([0.4, 1. ])
    """
    import xarray

    optional("sklearn", "probe", "a probe")

    random = np.random.RandomState(np.random.default_rng(rng).integers(2**31))
    layers, classes, units = _layers_and_classes(activations, labels, "labels", folds, groups)
    if isinstance(held_out, tuple):
        others, other_classes, other_units = _layers_and_classes(*held_out, "held-out labels", 1)
        _check_same_layers(layers, others)
        check_apart(activations, held_out[0])
    else:
        if not 0 < held_out < 1:
            raise ValueError(f"held_out must be a share in (0, 1) or (activations, labels), got {held_out!r}.")
        fitted, aside = set_aside(classes, units, held_out, random)
        others, other_classes, other_units = _some(layers, classes, units, aside)
        layers, classes, units = _some(layers, classes, units, fitted)
    splits = splits_of(classes, units, folds, random)
    rows = []
    # Products of this size lose with threads of their own: twenty times as slow where PyTorch's wait beside them.
    with threadpool_limits(limits=1), progress_bar("probing", len(layers), progress) as shown:
        for name, array in layers.items():
            fitted_on, measured_on = _rotated(array, others[name])
            strength, validated = _best_strength(fitted_on, classes, splits, strengths)
            predicted = _classifier(fitted_on, classes, strength).predict(measured_on)
            right = predicted == other_classes
            rows.append((np.mean(right), _standard_error(right, other_units), strength, validated))
            shown.update()
    accuracy, error, chosen, validation = (np.array(column) for column in zip(*rows, strict=True))
    n_held_out = len(other_classes)
    return xarray.Dataset(
        {
            "accuracy": ("layer", accuracy),
            "accuracy_se": ("layer", error),
            "strength": ("layer", chosen),
            "validation": ("layer", validation),
        },
        {"layer": list(layers)},
        {
            "chance": float(np.unique(other_classes, return_counts=True)[1].max() / n_held_out),
            "n_examples": np.int32(len(classes)),
            "n_held_out": np.int32(n_held_out),
            **({} if units is None else {"n_units": np.int32(len(np.unique(units)))}),
            **({} if other_units is None else {"n_held_out_units": np.int32(len(np.unique(other_units)))}),
        },
    )


def _standard_error(right: np.ndarray, units: np.ndarray | None) -> float:
    """Return the standard error of the share that is right: binomial, or over units, of which each is one draw."""
    share = right.mean()
    if units is None:
        return float(np.sqrt(share * (1 - share) / len(right)))
    sums = np.bincount(units, weights=right - share)
    count = len(np.unique(units))
    return float(np.sqrt(count / (count - 1) * np.sum(sums**2)) / len(right)) if count > 1 else float("nan")


def _some(
    layers: Mapping[str, np.ndarray], classes: np.ndarray, units: np.ndarray | None, rows: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray | None]:
    """Return some of the rows, with their classes and units."""
    return {n: array[rows] for n, array in layers.items()}, classes[rows], None if units is None else units[rows]


def _layers_and_classes(
    activations: Any, labels: Any, what: str, fewest: int, groups: Any = None
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray | None]:
    """Return layers, the class of every row, and the number of its unit, None where rows are independent; all checked."""
    if not (isinstance(activations, Mapping) or is_table(activations)) or not len(activations):
        raise TypeError(f"activations must be a mapping of layer names to arrays, got {type(activations).__name__}.")
    known = activations if isinstance(activations, Activations) else Activations(activations)
    refuse_sketches(known, "a probe")
    check_labels(labels, what, known, "activations")
    layers = {name: to_numpy(array) for name, array in known.items()}
    classes = np.asarray(to_numpy(labels) if hasattr(labels, "shape") else labels)
    n = len(next(iter(layers.values())))
    if classes.shape != (n,):
        raise ValueError(f"{what} must be one class for each of the {n} rows, got shape {classes.shape}.")
    missing = missing_among(labels if isinstance(labels, list | tuple | np.ma.MaskedArray) else classes)
    if missing.any():
        raise ValueError(
            f"{what} must hold a class for every row, got none in {missing.sum()} of {n} rows: leave these rows out, or call "
            f"what is missing a class of its own."
        )
    values, counts = np.unique(classes, return_counts=True)
    if len(values) < 2 and fewest > 1:
        raise ValueError(f"{what} must be of at least two classes, got {len(values)}.")
    if counts.min() < fewest:
        raise ValueError(
            f"{what} must have at least {fewest} examples of every class, one for each fold, got {counts.min()} of "
            f"{values.tolist()[counts.argmin()]!r}: leave the class out, or use fewer folds."
        )
    check_labels(groups, "groups", known, "activations")
    units = independent_units(groups, rows_of_examples([known]), n)
    if units is not None:
        check_classes(classes, units, what, fewest)
    return layers, classes, units


def _check_same_layers(layers: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> None:
    for name, array in layers.items():
        if name not in others:
            raise KeyError(f"the held-out activations must have the layer {name!r}, got {', '.join(others)}.")
        if others[name].shape[1] != array.shape[1]:
            raise ValueError(
                f"the held-out layer {name!r} must have {array.shape[1]} features as the other, got {others[name].shape[1]}."
            )


def _rotated(fitted_on: np.ndarray, measured_on: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and scale both by the first, and rotate more features than rows onto the rows."""
    kind = np.result_type(fitted_on.dtype, np.float32)
    mean = fitted_on.mean(axis=0, dtype=float)
    first, second = ((part - mean).astype(kind) for part in (fitted_on, measured_on))
    scale = np.sqrt(np.mean(np.square(first), dtype=float)) or 1.0
    first, second = first / kind.type(scale), second / kind.type(scale)
    if first.shape[1] <= first.shape[0]:
        return first, second
    left, values, right = np.linalg.svd(first, full_matrices=False)
    return left * values, second @ right.T


def _best_strength(
    features: np.ndarray,
    classes: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    strengths: Sequence[float],
) -> tuple[float, float]:
    """Return the strength of best cross-validated accuracy, the strongest among equals, and that accuracy."""
    ordered = sorted(strengths, reverse=True)
    scores = np.zeros(len(ordered))
    for rows, others in splits:
        model = None
        for i, strength in enumerate(ordered):
            model = _classifier(features[rows], classes[rows], strength, model)
            scores[i] += np.mean(model.predict(features[others]) == classes[others]) / len(splits)
    best = int(np.argmax(scores))
    return float(ordered[best]), float(scores[best])


def _classifier(features: np.ndarray, classes: np.ndarray, strength: float, start: Any = None) -> Any:
    """Fit a classifier, or go on from one of another strength, which is near."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = start or LogisticRegression(max_iter=200, tol=1e-4, warm_start=True)
    # scikit-learn weighs the sum of the losses against ‖w‖²/2.
    model.set_params(C=1 / (strength * len(features)))
    with warnings.catch_warnings():
        # A weak penalty on separable classes has no end worth waiting for; validation says whether it is any good.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features, classes)
