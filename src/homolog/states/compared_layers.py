"""What is the same in every state: two sides of named layers, batches of which are checked, and a result at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from homolog.activations import Activations
from homolog.arrays import check_representation, described, is_array, namespace, scalar, widened
from homolog.diagnostics import listed
from homolog.engine.inputs import Measures, Pairs
from homolog.engine.planning import Plan, make_plan
from homolog.names import layer_of
from homolog.rows import Rows
from homolog.sketching import refuse_sketches

Batch = Any
"""One batch of one model: an array (n, p), or a mapping of layer names to arrays."""
TITLES = ("a", "b")
"""What the two models are called where nobody named them."""


def chosen_titles(own: tuple[str, str], other: tuple[str, str]) -> tuple[str, str]:
    """Return the titles of two states put together: one's own, unless only the other's were given."""
    return other if own == TITLES else own


class PassedRows(Rows):
    """A representation whose rows have been seen, and were not kept."""

    def __init__(self, name: str, n: int, width: int) -> None:
        self.where, self.shape, self.dtype = f"layer {name!r}", (n, width), np.dtype(float)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Refuse."""
        raise ValueError(f"{self.where} was not kept: only its sums are known.")


class ComparedLayers:
    """The layers of two models, or of one compared with itself, as the first batch had them."""

    def __init__(self, a: Batch, b: Batch | None) -> None:
        layers = [_layers(a, "a")] + ([] if b is None else [_layers(b, "b")])
        self._set([{name: int(x.shape[1]) for name, x in side.items()} for side in layers])

    @classmethod
    def of(cls, widths: Sequence[Mapping[str, int]]) -> ComparedLayers:
        """Return sides of layers of known widths."""
        found = cls.__new__(cls)
        found._set([dict(side) for side in widths])
        return found

    def _set(self, widths: list[dict[str, int]]) -> None:
        self.same = len(widths) == 1
        self.sides = [*widths, {}][:2]
        count = len(self.sides[0])
        self.rows = list(range(count))
        self.columns = self.rows if self.same else list(range(count, count + len(self.sides[1])))

    @property
    def widths(self) -> list[int]:
        """Features of every layer, a's first."""
        return [width for side in self.sides for width in side.values()]

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Side and name of every layer."""
        return [(model, name) for model, side in zip("ab", self.sides, strict=True) for name in side]

    @property
    def names(self) -> list[str]:
        """What errors call every layer."""
        return [layer_of(name, model) for model, name in self.keys]

    def pairs(self) -> list[tuple[int, int]]:
        """Every pair that stands in the result, and every layer with itself, once."""
        found = {(min(i, j), max(i, j)) for i in self.rows for j in self.columns}
        return sorted(found | {(i, i) for i in range(len(self.widths))})

    def arrays(self, a: Batch, b: Batch | None) -> list[Any]:
        """Return the arrays of one batch, checked against the first batch and each other."""
        if (b is None) != self.same:
            raise ValueError("every batch must have b, or none: some had it and some had not.")
        given = [_layers(a, "a"), {} if b is None else _layers(b, "b")]
        for side in given:
            refuse_sketches(side, "the statistics of a batch")
        for model, now, known in zip("ab", given, self.sides, strict=True):
            widths = {name: int(x.shape[1]) for name, x in now.items()}
            if widths != known:
                raise ValueError(
                    f"every batch of {model} must have the layers and features of the first, {_described(known)}, got "
                    f"{_described(widths)}."
                )
        found = [now[name] for now, known in zip(given, self.sides, strict=True) for name in known]
        sizes = {int(x.shape[0]) for x in found}
        if len(sizes) > 1:
            raise ValueError(
                f"all layers of a batch must have as many rows, got {sorted(sizes)}: the same examples in all."
            )
        return found

    def places_of(self, layers: Sequence[Iterable[str]]) -> list[int]:
        """Return the places, among all layers, of those that are kept of every side."""
        kept = {(model, name) for model, names in zip("ab", layers, strict=False) for name in names}
        return [place for place, key in enumerate(self.keys) if key in kept]

    def part(self, places: Sequence[int]) -> ComparedLayers:
        """Return the sides of some of the layers."""
        kept = {self.keys[place] for place in places}
        sides = [
            {name: width for name, width in side.items() if (model, name) in kept}
            for model, side in zip("ab", self.sides, strict=True)
        ]
        return ComparedLayers.of(sides[:1] if self.same else sides)

    def check_equal(self, other: ComparedLayers) -> None:
        """Raise unless two states are of the same layers."""
        if (self.sides, self.same) != (other.sides, other.same):
            raise ValueError(
                f"states of the same layers can be merged, got {self._described()} in one and {other._described()} in the "
                f"other: feed all states the same layers."
            )

    def _described(self) -> str:
        """Name the layers and their features."""
        sides = [_described(side) for side in self.sides]
        return " against ".join(sides[:1] if self.same else sides)

    def plan(self, n: int, measures: Measures, titles: Sequence[str] | None, pairs: Pairs = "all") -> Plan:
        """Return the plan of a comparison of n rows, for the shape of the result."""
        passed = [
            Activations({name: PassedRows(name, n, p) for name, p in side.items()}) for side in self.sides if side
        ]
        if titles is None or len(set(titles)) < len(titles):
            titles = [f"{title} ({side})" if titles else side for title, side in zip(titles or "ab", "ab", strict=True)]
        named = [layers.described(model=title) for layers, title in zip(passed, titles, strict=False)]
        return make_plan(named[0], None if self.same else named[1], measures, pairs, "1GiB")


def check_magnitude(x: Any, title: str, most: float) -> None:
    """Raise where sums over a representation would leave the range of float64."""
    largest = scalar(namespace(x).max(namespace(x).abs(x)))
    if largest > most:
        raise ValueError(
            f"{title} must have values up to {most:.0e}, got {largest:.1e}: divide all its batches by a number."
        )


def _described(widths: Mapping[str, int]) -> str:
    """Name layers and their features."""
    return listed(f"{name} of {width} features" for name, width in widths.items())


def _layers(batch: Batch, side: str) -> dict[str, Any]:
    if is_array(batch):
        batch = {side: batch}
    if not isinstance(batch, Mapping):
        raise TypeError(
            f"a batch of {side} must be an array (n, p) or a mapping of layer names to arrays, got {described(batch)}."
        )
    if not batch:
        raise ValueError(f"a batch of {side} must have at least one layer, got an empty mapping.")
    for name, x in batch.items():
        _check_batch(x, layer_of(name, side))
    return {name: widened(x) for name, x in batch.items()}


def _check_batch(x: Any, title: str) -> None:
    # A batch may be a single example, which no representation is.
    single = is_array(x) and x.ndim == 2 and x.shape[0] == 1
    check_representation(np.empty((2, x.shape[1])) if single else x, title)
