"""Whether models of one group are more alike than models of different groups, by permutation of their labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from homolog.analysis.arrangements import arrangements, count_arrangements, count_namings
from homolog.analysis.model_labels import labels_of
from homolog.analysis.model_pairs import ModelPairs, model_pairs
from homolog.diagnostics import Caution, FewModelsWarning, give, listed
from homolog.inference.checks import check_count
from homolog.inference.permutations import random_of
from homolog.markup import Shown
from homolog.names import printable, quoted
from homolog.results import written_probability

ROUNDING = 1e-9
"""Sums of squares this close, relative to the whole, are equal: the same pairs added in another order."""
MOST_AT_A_TIME = 2**20
"""Pairs of models, over several arrangements, that are looked at together."""
COPY = 1e-6
"""How far from equal, as a share of the scale, copies of one network may be by rounding."""
COMMON_ALPHA = 0.05
"""Where no p-value can be as small as this, a reader is told."""


@dataclass(frozen=True)
class GroupTest(Shown):
    """What a test of groups of models found; `print` it for sentences."""

    statistic: float
    """Anderson's pseudo-F: spread between groups over spread within, each by its degrees of freedom."""
    r2: float
    """Share of the spread of all models that lies between groups."""
    pvalue: float
    """Share of the arrangements of the labels whose pseudo-F is at least as large."""
    within: float
    """Mean value of pairs of models in one group."""
    between: float
    """Mean value of pairs of models in different groups."""
    difference: float
    """How much more alike pairs in one group are, positive where they are more alike."""
    difference_pvalue: float
    """Share of the arrangements with at least such a difference."""
    dispersion_statistic: float
    """F of the models' distances to the centre of their group: large where some groups are wider than others."""
    dispersion_pvalue: float
    """Share of the arrangements with at least such an F, all groups moved to one centre."""
    smallest_pvalue: float
    """The smallest p that the models and groups allow."""
    n_arrangements: int
    """Arrangements of the labels that were counted, the observed one among them."""
    exact: bool
    """Whether these are all there are."""
    sizes: dict[str, int]
    """Group → its number of models."""
    kind: str
    """"similarity" or "distance": what `within` and `between` are means of."""
    null: np.ndarray = field(repr=False, compare=False)
    """(n_arrangements,) pseudo-F of every arrangement, the observed one first."""
    pairs_within: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    """Group → the values of its pairs of models."""
    pairs_between: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    """The values of pairs of models in different groups."""

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def sentences(self) -> tuple[str, ...]:
        """Return what was found in words."""
        how = f"all {self.n_arrangements}" if self.exact else f"{self.n_arrangements - 1} random"
        groups = ", ".join(f"{printable(name)} ({size})" for name, size in self.sizes.items())
        p, of_difference, of_spread = (
            _p(value) for value in (self.pvalue, self.difference_pvalue, self.dispersion_pvalue)
        )
        found = [
            f"{sum(self.sizes.values())} models in {len(self.sizes)} groups: {groups}.",
            f"The groups hold {self.r2:.0%} of the spread of the models: pseudo-F = {self.statistic:.3g}, {p} by "
            f"{how} arrangements of the labels (PERMANOVA).",
            f"The mean {self.kind} is {self.within:.3g} within groups and {self.between:.3g} between them ({of_difference} "
            f"that models of a group are more alike).",
        ]
        found += [_about_spread(self.dispersion_pvalue, of_spread)]
        return (*found, _verdict(self))


def _verdict(found: GroupTest) -> str:
    """Say what follows, at the level of 5 %."""
    if found.smallest_pvalue > COMMON_ALPHA:
        return f"So nothing can be shown, whatever the models are: {_limit(found)}."
    if found.pvalue > COMMON_ALPHA:
        return "So these models do not show that the groups differ (at the level of 0.05)."
    where = ", in place or in width" if found.dispersion_pvalue <= COMMON_ALPHA else ""
    return (
        f"So the groups differ{where} (at the level of 0.05): labels in another order rarely divide the models so well."
    )


def _p(value: float) -> str:
    return f"p = {written_probability(value)}" if value >= 1e-4 else f"p {written_probability(value)}"


def _about_spread(pvalue: float, written: str) -> str:
    if np.isnan(pvalue):
        return "Both tests also react to groups of unequal width, which these groups are too small to show."
    if pvalue <= COMMON_ALPHA:
        return f"The groups are not equally wide ({written}), to which both tests above react too: they may lie in one place."
    return f"Both tests also react to groups of unequal width, of which nothing is seen here ({written})."


def permanova(
    similarities: Any,
    groups: Any,
    *,
    within: Any = None,
    measure: str | None = None,
    calibrated: bool = False,
    names: Iterable[Any] | None = None,
    n_permutations: int = 999,
    rng: int | np.random.Generator = 0,
) -> GroupTest:
    """Test whether groups of models (architecture, data, objective) are more alike within than between: PERMANOVA.

    With d_ij the distances of N models in a groups of n_g models, SS_T = Σ d_ij² / N over all pairs and SS_W the sum over the
    groups of Σ d_ij² / n_g over their pairs:

        F = (SS_T − SS_W) / (a − 1) · (N − a) / SS_W,   R² = 1 − SS_W / SS_T.

    The labels of the models change places: p is the share of arrangements whose F is at least as large, the observed one
    counted. If there are at most 1 + n_permutations arrangements, each is counted once and p is exact.

    Parameters
    ----------
    similarities, measure, calibrated, names
        as for `embed`, with the same distances.
    groups
        mapping of models to labels, or one label for each model in order.
    within
        the same for blocks: labels change places only within a block, as where each architecture was trained on each data set
        and only the data are asked about.
    n_permutations
        random arrangements where there are more.
    rng
        seed or NumPy generator.

    Returns
    -------
    GroupTest
        `statistic` (F), `r2`, `pvalue`; the mean similarity `within` and `between` groups and their `difference` with a
        one-sided p of its own; `dispersion_pvalue`, whether the groups differ in width; `smallest_pvalue`, the smallest p that
        so few models allow. Print it for sentences.

    Raises
    ------
    ValueError, TypeError, KeyError
        As `embed`; for a model without a group, fewer than two groups, groups of one model throughout, blocks that leave
        nothing to permute, or models that are all equal.

    Warns
    -----
    FewModelsWarning
        Where no p-value can be 0.05 or less: two groups of two models reach 1/3, two of three 0.1, two of four 0.029. Where
        models are equal, as copies of one network.
    AsymmetryWarning
        Where the two directions differ; their mean is taken.

    Notes
    -----
    Models are the units: p is valid if they could have had each other's labels, as independent trainings can. Checkpoints or
    fine-tuned copies of one network are not independent; give the network they come from in `within`, or take one of each.

    F is also large where groups differ in width but not in place, above all where the smaller group is the wider one: of groups
    of 3 and 9 models, the three spread three times as wide around the same centre, 42 % had p ≤ 0.05; with the nine wider, none.
    The difference of the means reacts to width still more. The dispersion test asks for that: F of a one-way analysis of
    variance of the distances z_i of the models to the centre of their group, z_i² = Σ_j d_ij² / n − Σ_jk d_jk² / 2n² (0 where
    that is negative), times n/(n − 1) for the centre being taken from the group; p is by permutation of the residuals. It is
    approximate, and NaN unless two groups have at least three models. Groups of one model have no pair within, and add nothing
    to SS_W.

    In 500 simulations without any difference, of two and three groups of 1 to 9 models, p ≤ 0.05 in 3.6 to 6.2 %; the
    dispersion test in 3.8 to 6.4 %.

    Cost: n² per arrangement.

    References
    ----------
    Anderson, Austral Ecology 2001 (PERMANOVA); Anderson, Biometrics 2006 (dispersion); Clarke, Australian Journal of Ecology
    1993 (within against between); Phipson & Smyth, Statistical Applications in Genetics and Molecular Biology 2010.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> family = np.repeat(["cnn", "transformer"], 4)
    >>> similar = np.where(family[:, None] == family, 0.8, 0.3) + 0.2 * np.eye(8)
    >>> found = hl.permanova(similar, family)
    >>> round(found.r2, 2), round(found.pvalue, 3), found.exact
    (0.65, 0.029, True)
    """
    check_count(n_permutations)
    pairs = model_pairs(similarities, measure=measure, calibrated=calibrated, names=names, fewest=3)
    labels = np.array(labels_of(groups, pairs.names, "groups"))
    blocks = np.zeros(len(labels)) if within is None else np.array(labels_of(within, pairs.names, "within"))
    found = compared_groups(pairs, labels, blocks, int(n_permutations), random_of(rng))
    cautions = [*pairs.cautions, *_copies(pairs)]
    if found.smallest_pvalue > COMMON_ALPHA:
        message = f"these models can show no difference of groups: {_limit(found)}."
        cautions.append(Caution(FewModelsWarning, message))
    give(cautions)
    return found


def _copies(pairs: ModelPairs) -> list[Caution]:
    """Say which models are equal: copies of one network, as far as the values tell, and no models of their own."""
    apart = 1 - pairs.values if pairs.kind == "similarity" else pairs.values / (pairs.values.max() or 1.0)
    named = [f"{pairs.names[i]} and {pairs.names[j]}" for i, j in np.argwhere(np.triu(apart <= COPY, 1))]
    message = (
        f"equal by these values: {listed(named)}; copies of one network are not independent, and with them p is too small: keep "
        f"one of each."
    )
    return [Caution(FewModelsWarning, message)] if named else []


def _smallest(sizes: Iterable[int]) -> float:
    """Return the smallest p that groups of these sizes can reach."""
    places = np.repeat(np.arange(len(found := list(sizes))), found)
    blocks = np.zeros(len(places))
    return count_namings(places, blocks) / count_arrangements(places, blocks)


def _limit(found: GroupTest) -> str:
    """Say what keeps p from being small, and what would be enough."""
    sizes = list(found.sizes.values())
    told = f"p = {written_probability(found.smallest_pvalue)} is the smallest that "
    if not found.exact:
        return f"{told}{found.n_arrangements - 1} permutations can reach; take more, n_permutations=999"
    groups = f"groups of {_of_sizes(sizes)} models"
    if not np.isclose(_smallest(sizes), found.smallest_pvalue):
        return f"{told}{groups} can reach within these blocks; take more models in each block, or more blocks"
    more = sizes
    while _smallest(more) > COMMON_ALPHA:
        more = [size + 1 for size in more]
    return f"{told}{groups} can reach; groups of {_of_sizes(more)} reach {written_probability(_smallest(more))}"


def _of_sizes(sizes: list[int]) -> str:
    written = [str(size) for size in sizes]
    return listed(written, 8) if len(written) > 8 else f"{', '.join(written[:-1])} and {written[-1]}"


def compared_groups(
    pairs: ModelPairs, labels: np.ndarray, blocks: np.ndarray, n_permutations: int, random: np.random.Generator
) -> GroupTest:
    """Return the test, without a word on whether it can reject."""
    names, places, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    _check_groups(names, sizes, places, blocks)
    distances = pairs.distances
    largest = float(distances.max())
    if largest <= np.sqrt(ROUNDING) * pairs.scale:
        raise ValueError("groups need models that differ, got models that are all equal: nothing can be tested.")
    squares = (distances / largest) ** 2  # whatever the scale, neither too large nor too small to be squared
    total = squares.sum() / (2 * len(labels))
    orders, exact = arrangements(places, blocks, n_permutations, random)
    inside, within, between = _parts(squares, pairs.values, orders, sizes)
    apart = (within - between) * (1 if pairs.kind == "similarity" else -1)
    namings = count_namings(places, blocks)
    smallest = namings / count_arrangements(places, blocks) if exact else 1 / len(orders)
    with np.errstate(divide="ignore"):
        null = (total - inside) / (len(names) - 1) * (len(labels) - len(names)) / inside
    values_of, (first, second) = pairs.values[pairs.upper], places[np.array(pairs.upper)]
    inner = [values_of[(first == place) & (second == place)] for place in range(len(names))]
    wider, of_wider = _dispersion(squares, places, blocks, n_permutations, random)
    return GroupTest(
        statistic=float(null[0]),
        r2=float(1 - inside[0] / total),
        pvalue=float(np.mean(inside <= inside[0] + ROUNDING * total)),
        within=float(within[0]),
        between=float(between[0]),
        difference=float(apart[0]),
        difference_pvalue=float(np.mean(apart >= apart[0] - ROUNDING * np.abs(pairs.values).max())),
        dispersion_statistic=wider,
        dispersion_pvalue=of_wider,
        smallest_pvalue=float(smallest),
        n_arrangements=len(orders),
        exact=exact,
        sizes={str(name): int(size) for name, size in zip(names, sizes, strict=True)},
        kind=pairs.kind,
        null=null,
        pairs_within={str(name): values for name, values in zip(names, inner, strict=True)},
        pairs_between=values_of[first != second],
    )


def _check_groups(names: np.ndarray, sizes: np.ndarray, places: np.ndarray, blocks: np.ndarray) -> None:
    if len(names) < 2:
        raise ValueError(
            f"groups must be at least two, got {quoted(str(names[0]))} alone: label the models by what differs."
        )
    if sizes.max() < 2:
        raise ValueError("groups must hold at least two models somewhere, got every model in a group of its own.")
    if count_arrangements(places, blocks) == 1:
        raise ValueError(
            "within must leave labels to permute, got blocks of one group each: take blocks in which several groups occur."
        )


def _parts(
    squares: np.ndarray, values: np.ndarray, orders: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return SS_W and the mean values within and between groups of every arrangement."""
    count = orders.shape[1]
    apart = np.where(np.eye(count, dtype=bool), 0.0, values)
    inside, within = [], []
    for part in np.array_split(orders, -(-len(orders) * count**2 // MOST_AT_A_TIME)):
        same = (part[:, :, None] == part[:, None, :]).astype(float)
        inside.append(((same * squares).sum(axis=2) / (2 * sizes[part])).sum(axis=1))
        within.append(np.tensordot(same, apart, 2))
    sums, pairs = np.concatenate(within), (sizes * (sizes - 1)).sum()
    return np.concatenate(inside), sums / pairs, (apart.sum() - sums) / (count * (count - 1) - pairs)


def _dispersion(
    squares: np.ndarray, places: np.ndarray, blocks: np.ndarray, n_permutations: int, random: np.random.Generator
) -> tuple[float, float]:
    """Return F of the distances to the centres of groups of three and more, and its p by permutation of residuals.

    Each group is moved to one common centre, then the models change places and the distances are taken to the centres of the
    new groups: the centre of a small group is near its own models, in the same way for every arrangement.
    """
    kept = np.bincount(places)[places] >= 3
    if len(set(places[kept])) < 2:
        return float("nan"), float("nan")
    _, places = np.unique(places[kept], return_inverse=True)
    sizes = np.bincount(places)
    squares = squares[np.ix_(kept, kept)]
    own = np.eye(len(places)) - (places[:, None] == places) / sizes[places][:, None]
    scale = np.sqrt(sizes / (sizes - 1))[places]
    residuals = -(own @ squares @ own.T) / 2 * np.outer(scale, scale)  # their Gram matrix
    orders, _ = arrangements(places, blocks[kept], n_permutations, random)
    spreads = _about_centres(residuals, orders, sizes)
    spreads[0] = np.diagonal(residuals)  # their centres are taken off already
    values = _variance_ratios(np.sqrt(np.maximum(spreads, 0)), orders, sizes)
    return float(values[0]), float(np.mean(values >= values[0] * (1 - ROUNDING)))


def _about_centres(gram: np.ndarray, orders: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return squared distances of points to the centres of groups, times n/(n − 1), of every arrangement."""
    member = (orders[:, :, None] == np.arange(len(sizes))) / sizes
    to_centres = gram @ member
    centres = (member * to_centres).sum(axis=1)
    own = np.take_along_axis(to_centres, orders[:, :, None], axis=2)[:, :, 0]
    squares = np.diagonal(gram) - 2 * own + np.take_along_axis(centres, orders, axis=1)
    return squares * (sizes / (sizes - 1))[orders]


def _variance_ratios(values: np.ndarray, orders: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return F of one-way analyses of variance, one for each row; 0 where nothing varies."""
    count = values.shape[1]
    means = (values[:, :, None] * (orders[:, :, None] == np.arange(len(sizes)))).sum(axis=1) / sizes
    between = (sizes * (means - values.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    inside = ((values - np.take_along_axis(means, orders, axis=1)) ** 2).sum(axis=1)
    whole = ROUNDING * (values**2).sum(axis=1)
    ratios = between / (len(sizes) - 1) * (count - len(sizes)) / np.maximum(inside, whole + np.finfo(float).tiny)
    return np.where(between + inside <= whole, 0.0, ratios)
