"""One label for each model, from whatever people hold labels in: matched by the names of the models wherever there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

from homolog.arrays import described
from homolog.diagnostics import listed
from homolog.names import quoted

MISSING = ("NAType", "NaTType", "MaskedConstant")
"""Types of entries that stand for none, of pandas and of NumPy."""


def labels_of(given: Any, models: Sequence[str], what: str) -> list[str]:
    """Return one label for each model, from a mapping of models, labels with an index of models, or labels in order."""
    if isinstance(given, str | bytes | Set) or not (hasattr(given, "__len__") or hasattr(given, "keys")):
        raise TypeError(
            f"{what} must be one label for each model, or a mapping of models to labels, got {described(given)}."
        )
    given = _column(given, what)
    named = _by_model(given, models, what)
    if named is None:
        found = _in_order(given, what)
        if len(found) != len(models):
            raise ValueError(f"{what} must be one label for each of the {len(models)} models, got {len(found)}.")
        named = dict(zip(models, found, strict=True))
    named = {name: _plain(label) for name, label in named.items()}
    empty = [name for name in models if _is_missing(named.get(name))]
    if empty:
        raise ValueError(f"{what} must have a label for every model, got none for {listed(map(quoted, empty))}.")
    return _as_text([named[name] for name in models], what)


def _by_model(given: Any, models: Sequence[str], what: str) -> dict[str, Any] | None:
    """Return model → label where the labels say whose they are; None where they stand in order."""
    kind = type(given).__name__
    if isinstance(given, Mapping):
        return {str(name): label for name, label in given.items()}
    if kind == "Series" and hasattr(given, "index"):  # of pandas: that of polars has no index
        if type(given.index).__name__ == "RangeIndex" and not set(map(str, given.index)) & set(models):
            return None  # it numbers the entries, and says nothing
        return _matched({"index": given.index}, given.tolist(), models, what, kind)
    if kind == "DataArray" and given.ndim == 1 and given.coords:
        return _matched(given.coords, given.values.tolist(), models, what, kind)
    return None


def _column(given: Any, what: str) -> Any:
    """Return the one column of a table, and anything else as it is."""
    kind = type(given).__name__
    if kind not in ("DataFrame", "Dataset", "Table"):
        return given
    columns: Sequence[Any] = getattr(given, "columns", ())
    if kind != "DataFrame" or len(columns) != 1:
        raise TypeError(
            f"{what} must be one label for each model, got a {kind} of several columns: give one of them, such as "
            f"table['family']."
        )
    return given[columns[0]]


def _matched(
    indexes: Mapping[Any, Any], labels: Sequence[Any], models: Sequence[str], what: str, kind: str
) -> dict[str, Any]:
    """Return the labels by the one of several indexes that names most of the models."""
    written = [[str(name) for name in np.atleast_1d(np.asarray(index)).tolist()] for index in indexes.values()]
    index = max(written, key=lambda names: len(set(names) & set(models)))
    if not set(index) & set(models) or len(index) != len(labels):
        raise ValueError(
            f"{what} must name the models in the index of a {kind}, got {listed(map(quoted, index), 3)} and no model among "
            f"them: give a mapping of models to labels, or plain labels in the order of the models."
        )
    twice = [name for name in models if index.count(name) > 1]
    if twice:
        raise ValueError(
            f"{what} must have one label for each model, got {quoted(twice[0])} more than once: leave one out."
        )
    return dict(zip(index, labels, strict=True))


def _in_order(given: Any, what: str) -> list[Any]:
    """Return labels that stand in the order of the models."""
    shape = np.shape(given) if hasattr(given, "shape") else None
    if shape is not None and (len(shape) != 1 and max(shape, default=0) != np.prod(shape)):
        raise ValueError(f"{what} must be one label for each model, got an array of shape {shape}.")
    if type(given).__name__ == "DataArray":
        given = given.values
    flat = given.reshape(-1) if shape is not None and len(shape) > 1 else given
    return flat.tolist() if isinstance(flat, np.ndarray) and not np.ma.isMaskedArray(flat) else list(flat)


def _plain(label: Any) -> Any:
    """Return the number of a tensor of one number, and any other label as it is."""
    is_tensor = (
        hasattr(label, "item") and hasattr(label, "shape") and not isinstance(label, np.generic | np.ma.MaskedArray)
    )
    return label.item() if is_tensor and tuple(label.shape) == () else label


def _is_missing(label: Any) -> bool:
    if label is None or type(label).__name__ in MISSING:
        return True
    return isinstance(label, float | np.floating | np.datetime64) and bool(label != label)


def _as_text(labels: Sequence[Any], what: str) -> list[str]:
    """Return labels as text, equal ones as the same and others as different."""
    text: list[tuple[Any, str]] = []
    found = []
    for label in labels:
        known = next((written for other, written in text if _equal(label, other)), None)
        if known is None:
            known = str(label)
            if any(known == written for _, written in text):
                raise ValueError(f"{what} must differ as text, got two that are written {quoted(known)}: rename one.")
            text.append((label, known))
        found.append(known)
    return found


def _equal(label: Any, other: Any) -> bool:
    try:
        return bool(label == other)
    except (ValueError, TypeError):  # such as arrays
        return str(label) == str(other)
