"""Whether two halves of the examples tell the same."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.activations import Activations
from homolog.diagnostics import HomologWarning
from homolog.engine import compare
from homolog.engine.comparing import DEFAULT
from homolog.engine.inputs import models_of, resolve_measures
from homolog.engine.planning import rows_of_examples
from homolog.inference.resampling import rows_of_draws
from homolog.inference.units import count_of
from homolog.measures.record import Measure
from homolog.results import best_in_rows, measure_names, scores
from homolog.sketching import refuse_sketches

if TYPE_CHECKING:
    import xarray


def split_half(
    a: Any,
    b: Any = None,
    *,
    measures: Any = DEFAULT,
    n_splits: int = 10,
    rng: int | np.random.Generator = 0,
    memory: str | int = "2GiB",
) -> xarray.Dataset:
    """Compare two models on random halves of the examples, and the halves with each other.

    Parameters
    ----------
    a, b, measures, memory
        as for `compare`; one or two models.
    n_splits
        random halvings.
    rng
        seed or NumPy generator.

    Returns
    -------
    xarray.Dataset
        Over (measure, split): `correlation`, of the values of the two halves over all pairs of layers; `reliability`, 2r/(1+r),
        what this correlation would be for all examples (Spearman-Brown); `difference`, the mean absolute difference of the two
        values of a pair; `same_best`, the share of layers of a whose best match is the same in both halves.

    Raises
    ------
    ValueError, TypeError, KeyError
        As `compare` would for half of the examples; for more than two models.

    Notes
    -----
    Halves are of whole examples: where rows are tokens, all tokens of a text are in one half, and the attribute `n_units` says
    how many texts there are.

    Cost: two comparisons of half of the examples per split. A biased measure may be reliable and wrong: both halves share its
    bias.

    References
    ----------
    Spearman, British Journal of Psychology 1910; Brown, ibid.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> x = {f"layer {i}": rng.normal(size=(300, 4)) for i in range(3)}
    >>> y = {name: value + 0.5 * rng.normal(size=(300, 4)) for name, value in x.items()}
    >>> halves = hl.split_half(x, y, measures="cka")
    >>> float(halves.reliability.mean()) > 0.95, float(halves.same_best.mean())
    (True, 1.0)
    """
    import xarray

    models, many = models_of(a, b)
    for layers in models.values():
        refuse_sketches(layers, "split halves, both of which a sketch puts off alike")
    if many:
        raise ValueError("split_half takes one or two models, got a mapping of several: take them two at a time.")
    if not isinstance(n_splits, int | np.integer) or n_splits < 1:
        raise ValueError(f"n_splits must be a positive whole number, got {n_splits!r}.")
    random = np.random.default_rng(rng)
    sides = list(models.values())
    resolved = resolve_measures(measures)
    units = rows_of_examples(sides)
    splits = [_halves(sides, units, resolved, random, memory) for _ in range(n_splits)]
    names = measure_names(splits[0][0])
    rows = np.array([[_agreement(*halves, name) for halves in splits] for name in names])
    keys = ("correlation", "reliability", "difference", "same_best")
    return xarray.Dataset(
        {key: (("measure", "split"), rows[..., i]) for i, key in enumerate(keys)},
        {"measure": names},
        {"n_examples": np.int32(sides[0].n)} | ({} if units is None else {"n_units": np.int32(count_of(units))}),
    )


def _halves(
    sides: list[Activations],
    units: np.ndarray | None,
    measures: Mapping[str, Measure],
    random: np.random.Generator,
    memory: str | int,
) -> tuple[xarray.Dataset, xarray.Dataset]:
    order = random.permutation(sides[0].n if units is None else count_of(units))
    middle = len(order) // 2
    with warnings.catch_warnings():
        # The same for every half; `compare` on all examples gives them.
        warnings.simplefilter("ignore", HomologWarning)
        first, second = (
            compare(
                *(side.take(rows) for side in sides),
                measures={name: record.of_rows(rows) for name, record in measures.items()},
                memory=memory,
                progress=False,
            )
            for rows in (rows_of_draws(half, units) for half in (order[:middle], order[middle : 2 * middle]))
        )
    return first, second


def _agreement(first: xarray.Dataset, second: xarray.Dataset, name: str) -> tuple[float, float, float, float]:
    values = [half[name].values for half in (first, second)]
    known = np.isfinite(values[0]) & np.isfinite(values[1])
    same = bool(int(first.attrs["same_model"]))
    if same:
        known &= ~np.eye(len(known), dtype=bool)
    pairs = np.stack([value[known] for value in values])
    varies = pairs.shape[1] > 1 and bool((np.ptp(pairs, axis=1) > 0).all())
    correlation = float(np.corrcoef(pairs)[0, 1]) if varies else float("nan")
    best = [
        best_in_rows(np.where(known, scores(half, name), np.nan), np.eye(*known.shape, dtype=bool))
        for half in (first, second)
    ]
    decided = (best[0] >= 0) & (best[1] >= 0)
    nothing = float("nan")
    return (
        correlation,
        2 * correlation / (1 + correlation) if correlation > -1 else float("nan"),
        float(np.mean(np.abs(pairs[0] - pairs[1]))) if pairs.size else nothing,
        float(np.mean((best[0] == best[1])[decided])) if decided.any() else nothing,
    )
