"""What may be wrong with a comparison, each with what to do about it."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.activations import identified
from homolog.analysis import same_networks
from homolog.analysis.attention_sinks import sink_findings
from homolog.analysis.diagnosis_checks import Finding, layer_findings, pair_findings, pairing_findings
from homolog.analysis.diagnosis_groups import as_line, as_row, by_seriousness, grouped
from homolog.analysis.explaining import DecomposedLayer, DecomposedPair
from homolog.analysis.repeated_rows import repetition_findings
from homolog.analysis.row_names import RowNames
from homolog.arrays import to_numpy
from homolog.diagnostics import HomologWarning
from homolog.engine import compare
from homolog.engine.inputs import models_of
from homolog.markup import paragraphs, table
from homolog.results import between
from homolog.sketching import refuse_sketches

if TYPE_CHECKING:
    import xarray

MEASURES = ("cka", "cka(estimator=debiased)")
N_PERMUTATIONS = 199
"""Of models of which nobody asked for another number."""


_ON_TRUST = ", but nothing shows that row i is the same example on both sides: example_ids would"


@dataclass(frozen=True)
class Diagnosis:
    """Findings, the most serious kinds first, and the values that they are about; `print` it for one line a kind."""

    findings: tuple[Finding, ...]
    result: xarray.Dataset = field(repr=False)
    """Linear CKA, biased and debiased, with null levels and p-values, as `homolog.compare` gives them."""

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    @property
    def groups(self) -> tuple[tuple[Finding, ...], ...]:
        """Findings of one kind together, the most serious kinds first."""
        return grouped(self.findings)

    def __str__(self) -> str:
        if not self.findings:
            trusted = self.result.attrs.get("row_identity") == "unknown"
            return f"Nothing suspicious was found{_ON_TRUST if trusted else ''}."
        return "\n".join(map(as_line, self.groups))

    def _repr_html_(self) -> str:
        """Return a table of one row a kind, names in it as text."""
        if not self.findings:
            return paragraphs([self])
        return table(("finding", "where", "what", "what to do"), {"": map(as_row, self.groups)})


def diagnose(
    a: Any,
    b: Any = None,
    *,
    n_permutations: int | None = None,
    rng: int | np.random.Generator = 0,
    memory: str | int = "2GiB",
) -> Diagnosis:
    """Look for what makes values of CKA and its relatives mislead, and say what to do about it.

    Parameters
    ----------
    a, b
        as for `compare`: layers of two models, or of one; or a mapping of many models, without b.
    n_permutations, rng, memory
        as for `compare`. By default 199 permutations of one or two models: fewer than there, because all pairs are permuted,
        which is most of the cost, and only whether p is above 0.05 counts here. Of more models none by default: their p-values
        are by the formula that `compare` has, or from 199 permutations where it has none, as of rows that are tokens.

    Returns
    -------
    Diagnosis
        Iterates over `Finding` (kind, where, message, remedy), the most serious kinds first; empty where nothing was found.
        `print` gives one line a kind, with the first three places and the number of the others, and what is said of the worst;
        `groups` holds the findings of each kind. `result` holds the values beside their null levels and p-values. Kinds, from the
        most serious: "pairing", "row identity", "same network", "constant", "duplicate examples", "outlier", "attention sink",
        "chance", "repeated tokens", "null level", "saturation", "dominant direction", "few features", "duplicate features",
        "dead features", "unchanged layers".

        - of a layer: "constant", "dead features", "duplicate features", "saturation" (rank n − 1), "dominant direction"
          (over 80 % of the variance; an example that makes over half of it alone is named), "few features" (fewer than 10,
          whose random halves are unlike: CKA is biased down),
          "attention sink" (the first tokens hold over half of the squared norm, at three times the norm of the others or more,
          and the rows hold them; where rows are tokens, also single ones at other positions, in a tenth of the texts or more, at
          ten times the median norm; neighbouring layers together);
        - of a model: "duplicate examples"; where rows are tokens, these are whole texts, and "repeated tokens" are the others;
        - of two models: "same network" (all layers of the same name are equal to rounding, in every example), "unchanged layers"
          (some are, as where part of a network was frozen); a model compared with itself is neither;
        - of a pair of layers (of the same name, or best matches; of one model, neighbours, too): "outlier" (one example moves CKA
          by more than 0.05 or 5/n), "null level" (independent layers would reach over 0.1), "saturation" (both ranks together),
          "chance" (p over 0.05);
        - of the whole: "row identity", where one side at least says who its rows are and nothing shows that they are those of the
          other; "pairing", where no pair is more alike than under permutation: perhaps rows are shuffled.

    Raises
    ------
    ValueError, TypeError, KeyError
        As `compare` would.

    Notes
    -----
    Cost: two thin SVDs per layer, and n_permutations of CKA for all pairs. Of many models every two are looked at, by layers of
    the same name only (all pairs of layers, where two models have no name in common): each such pair takes three products of
    their features, 6npq operations, without permutations, and what is decomposed of every layer is kept.

    References
    ----------
    Davari et al. (2023), Reliability of CKA as a similarity measure in deep learning (outliers); Murphy et al. (2024),
    Correcting biased CKA in low-data regimes.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(2, 200, 20))
    >>> x[3] = y[3] = 50
    >>> for finding in hl.diagnose(x, y):
    ...     print(finding.kind, "|", finding.where)
    outlier | a: a and b: b
    dominant direction | a
    dominant direction | b
    """
    models, many = models_of(a, b)
    for layers in models.values():
        refuse_sketches(layers, "a diagnosis")
    with warnings.catch_warnings():
        # Every warning of a comparison is one of the findings.
        warnings.simplefilter("ignore", HomologWarning)
        pairs = _asked(models) if many and len(models) > 1 else "all"
        options: dict[str, Any] = {"measures": MEASURES, "pairs": pairs, "memory": memory, "progress": False}
        result = compare(a, b, **options) if n_permutations is None and len(models) > 2 else None
        if result is None or any(f"{measure}_p" not in result for measure in MEASURES):
            count = N_PERMUTATIONS if n_permutations is None else n_permutations
            result = compare(a, b, null="permutation", n_permutations=count, rng=rng, **options)
        sides = {
            side: {name: np.asarray(to_numpy(x), dtype=float) for name, x in layers.items()}
            for side, layers in models.items()
        }
        trusted = result.attrs["row_identity"] == "unknown" and any(map(identified, models.values()))
        sinks = [
            one for side, known in models.items() for one in sink_findings(_places(side, models), known, sides[side])
        ]
        rows = {side: RowNames.of_model(known) for side, known in models.items()}
        found = [*_identity_findings(trusted), *same_networks.findings(result), *sinks, *_findings(sides, result, rows)]
        return Diagnosis(by_seriousness(found), result)


def _asked(models: Mapping[str, Mapping[str, Any]]) -> list[tuple[Any, Any]]:
    """Return the pairs of layers of many models: those of the same name, or all of two models that have no name in common."""
    found: list[tuple[Any, Any]] = []
    for a, b in itertools.combinations(models, 2):
        shared = [((a, name), (b, name)) for name in models[a] if name in models[b]]
        found += shared or [((a, x), (b, y)) for x in models[a] for y in models[b]]
    return found


def _identity_findings(trusted: bool) -> Iterator[Finding]:
    """Say that rows are paired on trust."""
    if trusted:
        yield Finding(
            "row identity",
            "all layers",
            "nothing shows that rows are the same examples in the same order on both sides: their inputs differ or are not "
            "known, and they carry no example ids in common",
            "pass example_ids to homolog.extract for both sides, after which shuffled rows are refused",
        )


def _places(side: str, sides: Mapping[str, Any]) -> Callable[[str], str]:
    """Return what names a layer of a model: the layer alone where there is but one model."""
    return lambda layer: layer if len(sides) == 1 else f"{side}: {layer}"


def _findings(
    sides: Mapping[str, Mapping[str, np.ndarray]], result: xarray.Dataset, rows: Mapping[str, RowNames]
) -> Iterator[Finding]:
    for side, layers in sides.items():
        where = "all layers" if len(sides) == 1 else side
        yield from repetition_findings(where, layers, rows[side].example_ids, rows[side].positions)
        place = _places(side, sides)
        for name, array in layers.items():
            yield from layer_findings(place(name) if len(layers) > 1 or len(sides) == 1 else side, array, rows[side])
    yield from _findings_of_pairs(sides, list(_parts(sides, result)), rows)


def _parts(sides: Mapping[str, Any], result: xarray.Dataset) -> Iterator[tuple[str, str, xarray.Dataset, str]]:
    """Yield every two models, or one and itself, the part of the result about them, and what the whole of it is called."""
    one = [(name, name) for name in sides] if len(sides) == 1 else []
    for a, b in one or itertools.combinations(sides, 2):
        part = between(result, a, b) if "a" in result.dims else result
        yield a, b, part, f"{a} and {b}" if len(sides) > 2 else "all layers"


def _findings_of_pairs(
    sides: Mapping[str, Mapping[str, np.ndarray]],
    parts: Sequence[tuple[str, str, xarray.Dataset, str]],
    rows: Mapping[str, RowNames],
) -> Iterator[Finding]:
    """Find what is wrong with two models, or with one beside itself."""
    asked = [_pairs(part, same=a == b) for a, b, part, _ in parts]
    layers = {side: list(known) for side, known in sides.items()}
    named = [
        [((a, layers[a][i]), (b, layers[b][j])) for i, j in pairs]
        for (a, b, _, _), pairs in zip(parts, asked, strict=True)
    ]
    decomposed = _DecomposedLayers(sides, Counter(layer for pairs in named for pair in pairs for layer in pair))
    for (a, b, part, whole), pairs, places in zip(parts, named, asked, strict=True):
        unrelated = pairing_findings(part, whole) if a != b else []
        yield from unrelated
        known = rows[a] if rows[a].example_ids is not None else rows[b]
        for (x, y), at in zip(pairs, places, strict=True):
            if not np.isnan(part["cka"].values[at]):
                pair = DecomposedPair(decomposed.of(x), decomposed.of(y))
                where = f"{_places(a, sides)(x[1])} and {_places(b, sides)(y[1])}"
                xs = sides[a][x[1]], sides[b][y[1]]
                yield from pair_findings(where, pair, *xs, part, at, none_related=bool(unrelated), rows=known)


class _DecomposedLayers:
    """What is decomposed of layers, once, and kept until the last of their pairs asked for it."""

    def __init__(self, sides: Mapping[str, Mapping[str, np.ndarray]], uses: Counter[tuple[str, str]]) -> None:
        self._sides, self._uses = sides, uses
        self._held: dict[tuple[str, str], DecomposedLayer] = {}

    def of(self, place: tuple[str, str]) -> DecomposedLayer:
        """Return what is decomposed of a layer of a model."""
        side, name = place
        found = self._held.pop(place, None) or DecomposedLayer.of(self._sides[side][name])
        self._uses[place] -= 1
        if self._uses[place]:
            self._held[place] = found
        return found


def _pairs(result: xarray.Dataset, same: bool) -> list[tuple[int, int]]:
    """Return the pairs to look at: layers of the same name, or every layer with its best match; of one model, neighbours, too."""
    rows, columns = list(result.layer_a.values), list(result.layer_b.values)
    shared = [] if same else [(i, columns.index(name)) for i, name in enumerate(rows) if name in columns]
    if shared:
        return shared
    values = result["cka(estimator=debiased)"].values.copy()
    if same:
        np.fill_diagonal(values, np.nan)
    known = [i for i in range(len(rows)) if not np.isnan(values[i]).all()]
    best = {(i, int(np.nanargmax(values[i]))) for i in known}
    if not same:
        return sorted(best)
    neighbours = {(i, i + 1) for i in range(len(rows) - 1)}
    return sorted({(min(pair), max(pair)) for pair in best} | neighbours)
