"""For tests: an assertion that the layers of two networks are alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from homolog.analysis.checking import check
from homolog.analysis.thresholds import Thresholds
from homolog.engine.inputs import Pairs, Source
from homolog.inference.resampling import Method

__all__ = ["assert_alike"]


def assert_alike(
    before: Source,
    after: Source,
    at_least: Thresholds | None = None,
    *,
    at_most: Thresholds | None = None,
    layers: str | Sequence[str] | None = None,
    pairs: Pairs = "same_name",
    confidence: float | None = None,
    memory: str | int = "2GiB",
    progress: bool | None = None,
    method: Method = "jackknife",
    rng: int | np.random.Generator = 0,
) -> None:
    """Raise an AssertionError with a table of the layers that fell short, if any did.

    Parameters
    ----------
    before, after, at_least, at_most, layers, pairs, confidence, memory, progress, method, rng
        as for `check`: pairs by name, unlike elsewhere.

    Raises
    ------
    AssertionError
        If a layer falls short; the message is the text of the `Check`.
    ValueError, TypeError, KeyError
        As `check`.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> layers = {"encoder": np.random.default_rng(0).normal(size=(200, 8))}
    >>> hl.testing.assert_alike(layers, {"encoder": 2 * layers["encoder"]}, at_least="cka(estimator=debiased)=0.999999")
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    found = check(
        before,
        after,
        at_least,
        at_most=at_most,
        layers=layers,
        pairs=pairs,
        confidence=confidence,
        memory=memory,
        progress=progress,
        method=method,
        rng=rng,
    )
    if not found:
        raise AssertionError(str(found))
