"""The sanity check of Kornblith et al. (2019): how often the right layer is found, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy

from homolog.arrays import described
from homolog.diagnostics import give
from homolog.inference.resampling import leave_one_out, standard_error
from homolog.result_kinds import COMPARISON, check_kind
from homolog.results import chosen_measure, equal_to_largest, measure_names, symmetrised, two_by_two, two_models
from homolog.warning_sentences import skipped_pairs, untested_networks

if TYPE_CHECKING:
    import xarray

NOTHING = "none: "
"""How the account of a test begins that was not made."""

ROUNDING = 1e-12
"""Differences of shares below this are none."""


def layer_identification(
    results: xarray.Dataset | Sequence[xarray.Dataset],
    measures: Iterable[str] | None = None,
    *,
    against: str | None = None,
) -> xarray.Dataset:
    """Count how often the best match of a layer is the layer of the same name in the other network.

    The sanity check of Kornblith et al. (2019), Table 2: for two networks of one architecture trained from different seeds, the
    most alike layer should be the one of the same name. Both directions count; an asymmetric measure is symmetrised by adding
    the value with the roles exchanged (S + S^T). A layer decides where its namesake and at least one other were compared with it:
    a constant layer, which has no value, does not. Where k layers are equally alike, as dropout and its input, finding the right
    one among them counts 1/k.

    Parameters
    ----------
    results
        one result of `homolog.compare`, or several whose decisions are pooled; of many models all pairs count.
    measures
        which measures; those that all results share by default.
    against
        measure that the others are tested against; by default the one that finds most.

    Returns
    -------
    xarray.Dataset
        Over `measure`:

        - `accuracy` in [0, 1], `chance` (one over the number of candidates) and `decisions`, their number;
        - `accuracy_se`, the jackknife standard error over networks: pairs that share a network are not independent, so networks
          are left out, not decisions;
        - `z` and `p`: accuracy less that of the measure tested against, over the jackknife standard error of this difference,
          and its two-sided normal probability. That measure itself, and one that finds as many layers, have z = 0 and p = 1.
          Where leaving out a network never changes the difference, as of 100 % and 0 %, z is infinite, and p that of an exact
          sign test over disjoint pairs of networks, which are independent: at least 2 / 2^⌊N/2⌋ of N networks.

        The last three are NaN with fewer than three networks, or where several results do not tell which networks they compare
        (models of one name); the attribute `test` says in words what was tested, or why nothing was.

    Raises
    ------
    ValueError
        For a result of another kind; if no two networks share the name of a layer, a model was compared with itself, or
        `against` is not among the measures.

    Warns
    -----
    SkippedPairWarning
        Naming the pairs of networks that share no layer name, which are left out.
    FewModelsWarning
        Saying why there is no standard error and no test, in the words of the attribute `test`.

    References
    ----------
    Kornblith et al. (2019), section 6.1 and Table 2.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> layers = {"early": rng.normal(size=(200, 4)), "late": rng.normal(size=(200, 3))}
    >>> networks = {
    ...     seed: {name: x + 0.1 * rng.normal(size=x.shape) for name, x in layers.items()} for seed in ("0", "1", "2")
    ... }
    >>> found = hl.layer_identification(hl.compare(networks, measures=("cka", "cca")))
    >>> found.accuracy.values, found.accuracy_se.values
    (array([1., 1.]), array([0., 0.]))
    """
    import xarray

    if not isinstance(results, xarray.Dataset | Sequence):
        raise TypeError(f"results must be a result of homolog.compare or a list of them, got {described(results)}.")
    given = [results] if isinstance(results, xarray.Dataset) else results
    for result in given:
        check_kind(result, COMPARISON)
    pooled = list(two_by_two(given))
    if not pooled:
        raise ValueError("layer identification needs at least one result of homolog.compare, got none.")
    pooled = _identifiable(pooled)
    shared = [name for name in measure_names(pooled[0]) if all(name in measure_names(r) for r in pooled)]
    if isinstance(measures, str):
        measures = [measures]
    names = shared if measures is None else [chosen_measure(pooled[0], measure) for measure in measures]
    tallies = [[_tally(result, name) for result in pooled] for name in names]
    for name, per_pair in zip(names, tallies, strict=True):
        if not sum(tally.decisions for tally in per_pair):
            raise ValueError(
                f"layer identification needs layers compared with their namesake and another, got none for {name}: compare "
                f"with pairs='all'."
            )
    right, chances, decisions = np.array(tallies).transpose(2, 0, 1)
    total = decisions.sum(axis=1)
    accuracy = right.sum(axis=1) / total
    reference = int(np.argmax(accuracy)) if against is None else _place(chosen_measure(pooled[0], against), names)
    uncertainty, test = _uncertainty(pooled, right, decisions, reference)
    if test.startswith(NOTHING):
        give([untested_networks("standard errors, z and p over networks are", test.removeprefix(NOTHING))])
    columns = {"accuracy": accuracy, **uncertainty}
    columns |= {"chance": chances.sum(axis=1) / total, "decisions": total.astype(np.int32)}
    attributes = {"title": "layer identification", "comparisons": np.int32(len(pooled)), "against": names[reference]}
    attributes["test"] = test
    return xarray.Dataset({key: ("measure", column) for key, column in columns.items()}, {"measure": names}, attributes)


def _place(measure: str, names: Sequence[str]) -> int:
    if measure not in names:
        raise ValueError(f"against must be one of the measures, {', '.join(names)}, got {measure}.")
    return names.index(measure)


def _identifiable(pooled: Sequence[xarray.Dataset]) -> list[xarray.Dataset]:
    """Return the results in which some layer can be found; those of networks without a common name are told."""
    for result in pooled:
        two_models(result)
        if int(result.attrs.get("same_model", 0)):
            raise ValueError(
                "layer identification needs two networks, got a model compared with itself, which finds every layer: compare "
                "networks trained from different seeds."
            )
    kept: list[xarray.Dataset] = []
    skipped: list[xarray.Dataset] = []
    for result in pooled:
        (kept if set(result.layer_a.values) & set(result.layer_b.values) else skipped).append(result)
    if not kept:
        raise ValueError(
            "layer identification needs layers of the same name on both sides, got none in common: rename corresponding "
            "layers with Activations.rename."
        )
    pairs = [f"{result.attrs.get('model_a', 'a')} and {result.attrs.get('model_b', 'b')}" for result in skipped]
    give(skipped_pairs(pairs, len(kept)))
    return kept


class Tally(NamedTuple):
    """The decisions of one pair of networks."""

    right: float
    chances: float
    """Sum of the probabilities to be right by chance."""
    decisions: int


def _tally(result: xarray.Dataset, measure: str) -> Tally:
    layers = result.layer_a.values.astype(str), result.layer_b.values.astype(str)
    return tally(layers, symmetrised(result, measure))


def tally(layers: tuple[np.ndarray, np.ndarray], matrix: np.ndarray) -> Tally:
    """Count how often the most alike layer has the same name, both ways; of the names and scores of two networks."""
    right = chances = 0.0
    decisions = 0
    for rows, columns, values in ((*layers, matrix), (*layers[::-1], matrix.T)):
        candidates = (~np.isnan(values)).sum(axis=1)
        for name, line, equal, among in zip(rows, values, equal_to_largest(values), candidates, strict=True):
            if among < 2 or name not in columns or np.isnan(line[columns == name]).all():
                continue
            found = bool(equal[columns == name].any())
            right += found / int(equal.sum()) if found else 0.0
            chances += 1 / int(among)
            decisions += 1
    return Tally(right, chances, decisions)


def _uncertainty(
    pooled: Sequence[xarray.Dataset], right: np.ndarray, decisions: np.ndarray, reference: int
) -> tuple[dict[str, np.ndarray], str]:
    """Return standard errors and the test against a measure, and what was tested; right and decisions are (measures, pairs)."""
    unknown = np.full(len(right), np.nan)
    nothing = {"accuracy_se": unknown, "z": unknown, "p": unknown}
    pairs = [(str(result.attrs["model_a"]), str(result.attrs["model_b"])) for result in pooled]
    models = sorted({model for pair in pairs for model in pair})
    if len({frozenset(pair) for pair in pairs}) < len(pairs) or any(a == b for a, b in pairs):
        return (
            nothing,
            f"{NOTHING}several comparisons are of models of the same names, so that networks cannot be left out",
        )
    if len(models) < 3:
        return nothing, f"{NOTHING}a test over networks needs three, got {len(models)}"
    left = leave_one_out(models, lambda kept: decisions[:, kept].sum(axis=1), pairs)
    if (left == 0).any():
        return nothing, f"{NOTHING}without one of the networks a measure decides nothing"
    estimates = leave_one_out(models, lambda kept: right[:, kept].sum(axis=1) / decisions[:, kept].sum(axis=1), pairs)
    accuracy = right.sum(axis=1) / decisions.sum(axis=1)
    ahead = accuracy - accuracy[reference]
    error = standard_error(estimates - estimates[:, [reference]])
    # A difference that no network changes has no spread but what rounding leaves.
    steady = error <= ROUNDING
    ahead[np.abs(ahead) <= ROUNDING] = 0
    z = np.divide(ahead, error, out=np.where(ahead == 0, 0.0, np.copysign(np.inf, ahead)), where=~steady)
    p = 2 * scipy.special.ndtr(-np.abs(z))
    test = f"jackknife over {len(models)} networks"
    exact = np.flatnonzero(np.isinf(z))
    shares = right / np.where(decisions > 0, decisions, 1)
    for place in exact:
        p[place] = _sign_test(pairs, shares[place] - shares[reference])
    if len(exact):
        test += "; where z is infinite no network changes the difference, and p is of a sign test over disjoint pairs of networks"
    return {"accuracy_se": standard_error(estimates), "z": z, "p": p}, test


def _sign_test(pairs: Sequence[tuple[str, str]], differences: np.ndarray) -> float:
    """Return the exact two-sided probability of so many differences of one sign, over pairs that share no network."""
    used: set[str] = set()
    signs = []
    for pair, difference in zip(pairs, differences, strict=True):
        if difference != 0 and not used & set(pair):
            used |= set(pair)
            signs.append(difference > 0)
    return float(scipy.stats.binomtest(sum(signs), len(signs)).pvalue) if signs else 1.0
