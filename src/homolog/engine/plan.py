"""What will be computed: the layers of both sides, the measures under their variable names, the pairs asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from homolog import files
from homolog.activations import Activations, check_pairing, unknown_layer
from homolog.arrays import check_finite, check_representation, described, enough_rows, is_array, same_library
from homolog.registry import Measure, measure

Source = Any
Measures = str | Measure | Callable[..., Any] | Sequence[str | Measure | Callable[..., Any]] | Mapping[str, Any]
Pairs = str | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Plan:
    """An inert description of a comparison."""

    a: Activations
    b: Activations
    name_a: str
    name_b: str
    measures: Mapping[str, Measure]
    """Name of the variable → measure."""
    wanted: np.ndarray
    """(layers of a, layers of b) bool."""
    same: bool
    """One model is compared with itself."""

    @property
    def n(self) -> int:
        """Number of examples."""
        return self.a.n


def make_plan(a: Source, b: Source | None, measures: Measures, pairs: Pairs) -> Plan:
    """Resolve and validate everything that can be known before computing."""
    resolved = resolve_measures(measures)
    first, name_a = activations_of(a, "a")
    same = b is None or b is a
    second, name_b = (first, name_a) if same else activations_of(b, "b")
    if not same:
        check_pairing(first, second)
        same_library(next(iter(first.values())), next(iter(second.values())), (_label(first, "a"), _label(second, "b")))
    for side, layers in (("a", first),) if same else (("a", first), ("b", second)):
        _check_layers(layers, side)
    for name, record in resolved.items():
        enough_rows(next(iter(first.values())), record.minimal_n, name)
    return Plan(first, second, name_a, name_b, resolved, wanted_pairs(list(first), list(second), pairs), same)


def _label(layers: Activations, side: str) -> str:
    return f"layer {next(iter(layers))!r} of {side}"


def _check_layers(layers: Activations, side: str) -> None:
    first = next(iter(layers))
    for name, array in layers.items():
        same_library(layers[first], array, (f"layer {first!r} of {side}", f"layer {name!r} of {side}"))
        check_finite(array, f"layer {name!r} of {side}")


def activations_of(source: Source, side: str) -> tuple[Activations, str]:
    """Return what was given as Activations, and a name for it."""
    if isinstance(source, Activations):
        return source, source.provenance.get("model", side)
    if isinstance(source, str | PathLike):
        return files.open(source), Path(source).stem
    if isinstance(source, Mapping):
        if not source:
            raise ValueError(f"{side} must hold at least one layer, got an empty mapping.")
        for name, array in source.items():
            check_representation(array, f"layer {name!r} of {side}")
        return Activations(source), side
    if is_array(source):
        check_representation(source, side)
        return Activations({side: source}), side
    raise TypeError(
        f"{side} must be an array (n, p), a mapping of layer names to arrays, Activations, or a path, got "
        f"{described(source)}: convert it, for instance with numpy.asarray, or extract it with homolog.extract."
    )


def resolve_measures(measures: Measures) -> dict[str, Measure]:
    """Return name of the variable → measure, from any of the accepted forms."""
    if isinstance(measures, Mapping):
        found = [(name, measure(spec)) for name, spec in measures.items()]
    else:
        single = isinstance(measures, str | Measure) or callable(measures)
        forms: Any = [measures] if single else measures
        found = [(str(record), record) for record in map(measure, forms)]
    if not found:
        raise ValueError("measures must name at least one measure, got none: the default is ('cka',).")
    for name, _ in found:
        if not isinstance(name, str) or not name or "/" in name:
            raise ValueError(f"a variable of a result must be named by text without '/', got {name!r}: rename it.")
    resolved = dict(found)
    if len(resolved) < len(found):
        twice = next(name for name in resolved if sum(name == other for other, _ in found) > 1)
        raise ValueError(
            f"measures must have different names, got {twice!r} twice: pass {{name: measure}} to name them."
        )
    return resolved


def wanted_pairs(layers_a: list[str], layers_b: list[str], pairs: Pairs) -> np.ndarray:
    """Return the (layers of a, layers of b) mask of the pairs asked for."""
    if isinstance(pairs, str):
        if pairs == "all":
            return np.ones((len(layers_a), len(layers_b)), dtype=bool)
        if pairs == "same_name":
            mask = np.array([[first == second for second in layers_b] for first in layers_a])
            if not mask.any():
                raise ValueError(
                    "pairs='same_name' needs a layer name that both sides have, got none in common: rename layers with "
                    "Activations.rename, or use pairs='all'."
                )
            return mask
        raise ValueError(f"pairs must be 'all', 'same_name' or a list of (layer_a, layer_b), got {pairs!r}.")
    mask = np.zeros((len(layers_a), len(layers_b)), dtype=bool)
    for pair in pairs:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise ValueError(f"a pair must be (layer_a, layer_b), got {pair!r}: pass a list of such tuples.")
        for name, known in zip(pair, (layers_a, layers_b), strict=True):
            if name not in known:
                raise KeyError(unknown_layer(str(name), known))
        mask[layers_a.index(pair[0]), layers_b.index(pair[1])] = True
    if not mask.any():
        raise ValueError("pairs must ask for at least one pair, got an empty list: use 'all'.")
    return mask
