"""How sure one may be of the measure of two representations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from homolog.blocks.workers import pooled
from homolog.diagnostics import give
from homolog.inference.checks import check_count, check_level, check_method, check_size
from homolog.inference.intervals import difference, intervals
from homolog.inference.pair import ALL, Pair
from homolog.inference.permutations import is_order_free, orders, permuted_values, seed_of
from homolog.inference.pvalues import pvalues
from homolog.inference.resampling import Method, Resampled, resampled_values
from homolog.inference.units import check_units, independent_units
from homolog.machine import parse_bytes
from homolog.markup import Shown
from homolog.measures.record import Measure
from homolog.operands.family import FUNCTION
from homolog.renamed import tell
from homolog.warning_sentences import dominated_by_bias, no_interval, order_free

Spec = str | Measure | Callable[..., Any]
Random = int | np.random.Generator


@dataclass(frozen=True)
class PermutationTest(Shown):
    """What a permutation test found."""

    statistic: float
    """The measure of the two representations."""
    pvalue: float
    """(1 + permutations at least as alike) / (1 + permutations)."""
    null_level: float
    """Mean under permutation: what independent representations of these, or those that share only the groups, would reach."""
    null: np.ndarray = field(repr=False, compare=False)
    """(n_permutations,) values under permutation."""

    @property
    def level(self) -> float:
        """The former name of `null_level`."""
        tell("PermutationTest.level", "PermutationTest.null_level")
        return self.null_level


@dataclass(frozen=True)
class ConfidenceInterval(Shown):
    """A value, its standard error, and an interval."""

    value: float
    se: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedTest(Shown):
    """Whether one representation is more like a second than like a third."""

    difference: float
    """Positive where x is more like y than like z."""
    se: float
    low: float
    high: float
    pvalue: float
    """Two-sided, of no difference, from Student's t."""


def permutation_test(
    x: Any,
    y: Any,
    measure: Spec = "cka",
    *,
    n_permutations: int = 999,
    groups: Any = None,
    rng: Random = 0,
    memory: str | int = "2GiB",
) -> PermutationTest:
    """Test whether two representations are more alike than independent ones.

    The rows of y are put in random orders, which breaks every dependence and leaves each representation as it is:

        p = (1 + #{permutations at least as alike}) / (1 + n_permutations).

    Parameters
    ----------
    x, y
        representations (n, p) and (n, q) of the same examples.
    measure
        text form, bound measure, or a function of two arrays (a similarity).
    n_permutations
        random orders; the smallest p is 1 / (1 + n_permutations).
    groups
        (n,) labels: rows change places only within their group, where examples are exchangeable there alone (sentences of a
        document, subjects, classes). With classes it asks whether x and y agree beyond the classes. They are not the units of
        `confidence_interval`, which are kept together: of tokens that stay with their text, compare the means over each text, or
        pass tables that say of which example each row is, without groups, and whole examples change places.
    rng
        seed or NumPy generator; the same seed gives the same orders, whatever the machine.
    memory
        for Gram matrices.

    Returns
    -------
    PermutationTest
        `statistic`, `pvalue`, `null` (the values under permutation) and `null_level`, their mean.

    Raises
    ------
    ValueError, TypeError, KeyError
        For input that cannot be compared, or groups that leave nothing to permute.

    Warns
    -----
    OrderFreeWarning
        Where no order changes the value, so that p is NaN. Besides, what the measure itself warns of, such as saturation.

    Notes
    -----
    Operands are prepared once and reordered. Cost per permutation: for CKA and HSIC 2npq or n²/2 picked entries, whichever
    is less; for the subspace family one overlap, and its singular values for measures that need them.

    References
    ----------
    Gretton et al., NIPS 2007; Phipson & Smyth, Statistical Applications in Genetics and Molecular Biology 2010 (the +1).

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> x, noise = np.random.default_rng(0).normal(size=(2, 100, 5))
    >>> hl.permutation_test(x, x + 3 * noise, n_permutations=199).pvalue
    0.005
    """
    pair = Pair.of(x, y, measure)
    pair.caution()
    values = _permuted(pair, n_permutations, groups, rng, memory)
    null = values[1:]
    free = is_order_free(values)
    give([order_free(str(pair.measure), grouped=groups is not None)] * free)
    p = float("nan") if free else float(pvalues(values, pair.measure.kind))
    return PermutationTest(float(values[0]), p, float(null.mean()), null)


def _permuted(pair: Pair, count: int, groups: Any, rng: Random, memory: str | int) -> np.ndarray:
    check_count(count)
    x, y, _ = pair.operands
    order = orders(pair.n, rng, groups, pair.rows_of)
    with pooled(shared=pair.measure.family is not FUNCTION) as each:
        found = permuted_values({"value": pair.measure}, [x], [y], ALL, order, int(count), each, parse_bytes(memory))
    return found["value"][:, 0, 0]


def null_level(
    x: Any,
    y: Any,
    measure: Spec = "cka",
    *,
    n_permutations: int = 999,
    groups: Any = None,
    rng: Random = 0,
    memory: str | int = "2GiB",
) -> float:
    """Return the value that independent representations of these would have: the mean over permutations of the examples.

    Exact by formula, for independent rows without groups: tr K · tr L / ((n−1)‖K‖‖L‖) for biased CKA of centred K and L,
    max(r_x, r_y)/(n−1) for R²_CCA, r/(n−1) for linear regression from r predictors. Else from random permutations.

    Parameters
    ----------
    x, y, measure, n_permutations, groups, rng, memory
        as for `permutation_test`.

    Returns
    -------
    float
        A Python number, as all that is asked of one pair here: a mean of many values, computed on the host and without gradient.

    Raises
    ------
    ValueError, TypeError, KeyError
        For input that cannot be compared.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> x, y = np.random.default_rng(0).normal(size=(2, 50, 40))
    >>> round(hl.null_level(x, y), 2), abs(hl.null_level(x, y, "cka(estimator=debiased)")) < 0.01
    (0.43, True)
    """
    pair = Pair.of(x, y, measure)
    pair.caution()
    exact = pair.null_level if groups is None and pair.rows_of is None else None
    return float(_permuted(pair, n_permutations, groups, rng, memory)[1:].mean()) if exact is None else exact


def confidence_interval(
    x: Any,
    y: Any,
    measure: Spec = "cka(estimator=debiased)",
    *,
    level: float = 0.95,
    method: Method = "jackknife",
    groups: Any = None,
    rng: Random = 0,
) -> ConfidenceInterval:
    """Return a standard error and a confidence interval for a measure of two representations: how it varies with the examples.

    Jackknife over examples: with θ_(i) the value without example i and θ̄ their mean, se² = (n−1)/n Σ (θ_(i) − θ̄)². The interval
    is for the value that infinitely many examples would give, so it may not contain a biased value. For biased CKA, HSIC and
    distance correlation it is the interval of the debiased estimator. For other measures, random halves of the examples show the
    bias, which is taken off. Whether the bias shrinks as 1/n or as 1/√n is not known, so the interval covers both. It is an
    interval of Student's t on a scale that fits the range, and is then put back: on Fisher's z = atanh θ for a similarity of at
    most 1, and on the asinh of z over its error for estimators without bias.

    Parameters
    ----------
    x, y
        representations (n, p) and (n, q) of the same examples, which must be independent draws, or `groups` say which are.
    measure
        text form, bound measure, or a function of two arrays.
    level
        probability that the interval holds the value on infinitely many examples.
    method
        "jackknife" leaves out each example if the measure has a shortcut for it (HSIC, CKA, R²_CCA, linear regression).
        Otherwise it leaves out each of 50 parts, and takes ten splits into halves for the bias. "subsample" takes 100 random
        halves.
    groups
        (n,) labels of independent units: sentences, documents, subjects. Whole units are left out, each where there are at most
        50, else 50 parts of them; se² = (g−1)/g Σ (θ_(i) − θ̄)² over g units or parts, whatever their sizes. Where rows are
        tokens and x or y is a table that says of which example, these are the units.
    rng
        seed or NumPy generator, for parts and halves.

    Returns
    -------
    ConfidenceInterval
        `value`, `se`, `low`, `high`; the ends lie within the range of the measure. They are NaN, under a warning, where the
        measure has no value without some of the examples.

    Raises
    ------
    ValueError, TypeError, KeyError
        For input that cannot be compared, or a level outside (0, 1).

    Warns
    -----
    BiasWarning
        If the interval of a debiased estimator does not contain the value. Also if the bias is over two standard errors and does
        not shrink with more examples as it should, as with as many features as examples.
    UndefinedValueWarning
        Where there is a value but no interval. Besides, what the measure itself warns of, such as saturation.

    Notes
    -----
    The degrees of freedom are n m₂² / (m₄ − m₂²), from 1 to n − 1, with m₂ and m₄ the central moments of the θ_(i) on that
    scale: few where few examples carry the standard error. How often such intervals hold the true value is in docs/inference.md.

    Rows are never drawn with replacement: copies of one example look like agreement to debiased measures. Near
    independence the distribution is not normal: ask `permutation_test` there. RBF bandwidths are held while examples are
    left out.

    References
    ----------
    Efron & Stein, Annals of Statistics 1981; Shao & Wu, Annals of Statistics 1989 (subsampling); Fisher, Metron 1921 (z);
    Satterthwaite, Biometrics Bulletin 1946 (degrees of freedom); MacKinnon, Nielsen & Webb, Journal of Applied Econometrics 2023
    (units).

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> x, noise = np.random.default_rng(0).normal(size=(2, 200, 5))
    >>> found = hl.confidence_interval(x, x + noise)
    >>> found.low < found.value < found.high
    True
    """
    pair = Pair.of(x, y, measure)
    check_level(level)
    pair.caution()
    ends = intervals({"value": pair.measure}, level, _resampling(pair, method, rng, groups))["value"]
    name, where = str(pair.measure), ["x and y"]
    give([dominated_by_bias(name, where)] * bool(ends.dubious) + [no_interval(name, where)] * bool(ends.missing))
    return ConfidenceInterval(pair.value, float(ends.se), float(ends.low), float(ends.high))


def _resampling(
    pair: Pair, method: Method, rng: Random, groups: Any
) -> Callable[[Mapping[str, Measure]], dict[str, Resampled]]:
    """Return measures → their values on parts of the examples of a pair."""
    check_method(method)
    check_size(pair.n, pair.measure, method)
    units = independent_units(groups, pair.rows_of, pair.n)
    if units is not None:
        check_units(units, pair.measure, method)

    def resampled(measures: Mapping[str, Measure]) -> dict[str, Resampled]:
        with pooled(shared=pair.measure.family is not FUNCTION) as each:
            found = resampled_values(measures, [pair.x], [pair.y], ALL, method, rng, each, units=units)
        return {name: part.on(lambda values: values[..., 0, 0]) for name, part in found.items()}

    return resampled


def paired_test(
    x: Any,
    y: Any,
    z: Any,
    measure: Spec = "cka(estimator=debiased)",
    *,
    level: float = 0.95,
    method: Method = "jackknife",
    groups: Any = None,
    rng: Random = 0,
) -> PairedTest:
    """Test whether x is more like y than like z, over the same examples.

    The difference of the two values is resampled as one figure, so that what both share in the examples drops out. It is taken on
    Fisher's z, as in `confidence_interval`, where the measure has bounds. A difference counts as far as it is one both as it is
    and less its bias, whatever its order. The interval is put back around the middle of the two values, and leaves out 0 where p
    is below 1 − level. With few examples the test is cautious: it rejects less often than it says (docs/inference.md).

    Parameters
    ----------
    x, y, z
        representations of the same examples: layer i of one network, layers j and k of another.
    measure, level, method, groups, rng
        as for `confidence_interval`.

    Returns
    -------
    PairedTest
        `difference`, positive where x is more like y (for a distance: nearer to y), with `se`, `low`, `high` and `pvalue`.

    Raises
    ------
    ValueError, TypeError, KeyError
        For input that cannot be compared, or a level outside (0, 1).

    Warns
    -----
    BiasWarning
        Where nothing says where the bias of the difference ends, as in `confidence_interval`.
    UndefinedValueWarning
        Where the measure has no value without some of the examples, so that p is NaN. Besides, what the measure itself warns of.

    References
    ----------
    Efron & Stein, Annals of Statistics 1981.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> x, noise, other = np.random.default_rng(0).normal(size=(3, 200, 5))
    >>> hl.paired_test(x, x + noise, x + 2 * other).pvalue < 0.01
    True
    """
    check_level(level)
    seed = seed_of(rng)  # once, so that both values are taken on the same parts
    pairs = [Pair.of(x, y, measure), Pair.of(x, z, measure, ("x", "z"))]
    for pair in pairs:
        pair.caution()
    record = pairs[0].measure
    without_bias = record.without_bias
    wanted = {"value": record} | ({} if without_bias is None else {"without bias": without_bias})
    first, second = (_resampling(pair, method, seed, groups)(wanted) for pair in pairs)
    unbiased = None if without_bias is None else (first["without bias"], second["without bias"])
    found = difference(record, level, (first["value"], second["value"]), unbiased)
    name, where = str(record), ["x and y, or x and z"]
    give([dominated_by_bias(name, where)] * found.dubious + [no_interval(name, where)] * found.missing)
    return PairedTest(found.difference, found.se, found.low, found.high, found.pvalue)
