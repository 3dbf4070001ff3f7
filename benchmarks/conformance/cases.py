"""Two representations of the same examples, of the kinds that measures meet."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]


def plain(rng: np.random.Generator, n: int = 60) -> Pair:
    """Return features that share three directions."""
    shared = rng.normal(size=(n, 3)) * [3.0, 2.0, 1.0]
    x, y = (shared @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)) for p in (5, 7))
    return x, y


def golden(rng: np.random.Generator) -> Pair:
    """Return the data of the authors' notebook."""
    state = np.random.RandomState(1337)
    x = state.randn(100, 10)
    return x, state.randn(100, 10) + x


def offset(rng: np.random.Generator) -> Pair:
    """Return the same about means of 1,000."""
    x, y = plain(rng)
    return x + 1000, y + 1000


def scaled(rng: np.random.Generator) -> Pair:
    """Return the same, small on one side."""
    x, y = plain(rng)
    return 1e-6 * x, y


def rank_deficient(rng: np.random.Generator) -> Pair:
    """Return features two of which are sums of others."""
    x, y = plain(rng)
    return np.hstack([x, x[:, :2] + x[:, 2:4]]), y


def same(rng: np.random.Generator) -> Pair:
    """Return a representation twice."""
    x, _ = plain(rng)
    return x, x.copy()


def dead(rng: np.random.Generator) -> Pair:
    """Return features of which some never vary."""
    x, y = plain(rng)
    x[:, 1], y[:, :2] = 7.0, 0.0
    return x, y


def wide(rng: np.random.Generator) -> Pair:
    """Return more features than examples, independent of each other."""
    return rng.normal(size=(30, 80)), rng.normal(size=(30, 90))


CASES: dict[str, Callable[[np.random.Generator], Pair]] = {
    "golden": golden,
    "plain": plain,
    "mean of 1,000": offset,
    "scaled by 1e-6": scaled,
    "rank deficient": rank_deficient,
    "with itself": same,
    "dead features": dead,
    "30 × 80, independent": wide,
}
LAST = "last batch of 2"
"""Of packages that take batches: 66 rows in batches of 32."""
