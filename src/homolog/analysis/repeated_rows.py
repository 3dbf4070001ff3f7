"""Rows of a model that are equal in every layer: examples that occur twice, or tokens after equal beginnings of texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from homolog.analysis.diagnosis_checks import Finding

EXAMPLES, TOKENS = "duplicate examples", "repeated tokens"
"""Kinds of findings."""


def repetition_findings(
    where: str, layers: Mapping[str, np.ndarray], example_ids: Any = None, positions: Any = None
) -> Iterator[Finding]:
    """Find examples that are equal in every layer; where rows are tokens, whole texts, and then other tokens."""
    if all(np.ptp(array, axis=0).max() == 0 for array in layers.values()):
        return
    classes = _classes(layers)
    n = len(classes)
    copies = n - len(np.unique(classes))
    if not copies:
        return
    if positions is None or example_ids is None:
        yield _examples(where, copies, n)
        return
    first = _first_of_equal_texts(classes, np.asarray(example_ids), np.asarray(positions))
    texts = len(first)
    whole = texts - int(first.sum())
    if whole:
        yield _examples(where, whole, texts)
    _, place = np.unique(example_ids, return_inverse=True)
    kept = classes[first[place]]
    tokens = len(kept) - len(np.unique(kept))
    if tokens:
        within = len(kept) - np.unique(np.stack([place[first[place]], kept]), axis=1).shape[1]
        yield _tokens(where, tokens, len(kept), within)


def _tokens(where: str, tokens: int, n: int, within: int) -> Finding:
    """Say how many tokens repeat others, `within` of them others of their own text, which has another cause."""
    cause = "a causal model puts out the same after equal beginnings of texts"
    remedy = "skip_first=1 leaves out what all texts begin with, and intervals count whole texts"
    if within:
        cause = (
            f"{within} of them to others of their own text, as where one vector stands for all tokens of a text, or nothing "
            f"tells where a word stands in it"
        )
        remedy = 'reduce="mean" makes one row of a text, and intervals count whole texts'
    message = f"{tokens} of {n} rows, which are tokens, are equal to others in every layer: {cause}"
    remedy = f"nothing need be done if the texts are as you mean them; {remedy}"
    return Finding(TOKENS, where, message, remedy, of="models", degree=tokens)


def _examples(where: str, copies: int, n: int) -> Finding:
    return Finding(
        EXAMPLES,
        where,
        f"{copies} of {n} examples repeat others in every layer, which counts them twice and looks like agreement",
        "drop the copies, for instance with Activations.take",
        of="models",
        degree=copies,
    )


def _classes(layers: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return a number for each row, the same for rows that are equal in every layer."""
    classes = np.zeros(len(next(iter(layers.values()))), dtype=int)
    for array in layers.values():
        # Adding 0 makes one zero of the two.
        rows = np.ascontiguousarray(array + 0.0).view(np.dtype((np.void, array.dtype.itemsize * array.shape[1])))
        _, own = np.unique(rows.ravel(), return_inverse=True)
        _, classes = np.unique(np.stack([classes, own]), axis=1, return_inverse=True)
    return classes


def _first_of_equal_texts(classes: np.ndarray, example_ids: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Flag for each text, in the order of their ids, whether no text before it has the same tokens."""
    _, place = np.unique(example_ids, return_inverse=True)
    order = np.lexsort((positions, place))
    ends = np.cumsum(np.bincount(place))[:-1]
    seen: set[bytes] = set()
    found = []
    for text in np.split(classes[order], ends):
        found.append(text.tobytes() not in seen)
        seen.add(text.tobytes())
    return np.array(found)
