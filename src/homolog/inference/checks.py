"""What may be asked."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np

from homolog.inference.resampling import Method
from homolog.measures.record import Measure


def check_count(n_permutations: Any) -> None:
    """Raise unless a number of permutations is one."""
    whole = isinstance(n_permutations, int | np.integer) and not isinstance(n_permutations, bool)
    if not whole or n_permutations < 1:
        raise ValueError(f"n_permutations must be a positive whole number, got {n_permutations!r}.")


def check_level(level: Any) -> None:
    """Raise unless a level is a probability."""
    if not isinstance(level, int | float | np.floating) or not 0 < level < 1:
        raise ValueError(f"level must be a probability between 0 and 1, got {level!r}.")


def check_method(method: Any) -> None:
    """Raise unless a method to find intervals is known."""
    if method not in get_args(Method):
        raise ValueError(f"an interval must be by jackknife or subsample, got {method!r}.")


def check_size(n: int, record: Measure, method: str) -> None:
    """Raise where too few examples are left to a measure when some are left out."""
    # Ends come from the estimator without bias where there is one.
    fewest = max((record.without_bias or record).minimal_n, 2)
    least = 2 * fewest if method == "subsample" else fewest + 1
    if n < least:
        raise ValueError(
            f"an interval of {record} by {method} needs at least {least} examples, got {n}: use more examples."
        )
