"""What sketches do to values whose error over examples is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from homolog.inference.permutations import Each
from homolog.inference.resampling import Resampled
from homolog.measures.evaluation import prepared
from homolog.measures.record import Measure
from homolog.operands.sketched_examples import noise_over_examples
from homolog.operands.sketched_products import off_by, slopes
from homolog.sketching import SketchedRows


class SketchErrors(NamedTuple):
    """Of one measure, (layers of x, layers of y), 0 where no layer of a pair is kept as sketches."""

    shift: np.ndarray
    """By how much values are off on average."""
    error: np.ndarray
    """Standard error over sketches."""
    noise: np.ndarray
    """What of the variance over examples is that of sketches."""

    def taken_off(self, part: Resampled) -> Resampled:
        """Return values on parts of the examples as they were without sketches, whose error stands beside that over examples."""
        return part.less_noise(self.noise).on(lambda values: values - self.shift)._replace(beside=self.error)


def sketch_errors(
    measures: Mapping[str, Measure],
    xs: Sequence[Any],
    ys: Sequence[Any],
    needed: np.ndarray,
    units: np.ndarray | None,
    each: Each,
) -> dict[str, SketchErrors]:
    """Return measure → what sketches do to its values; nothing where no layer is kept as sketches."""
    if not any(isinstance(x, SketchedRows) for x in [*xs, *ys]):
        return {}
    record = next(iter(measures.values()))
    firsts = list(each(partial(prepared, record), xs))
    seconds = firsts if ys is xs else list(each(partial(prepared, record), ys))
    pairs = [
        (i, j)
        for i, j in zip(*np.nonzero(needed), strict=True)
        if isinstance(xs[i], SketchedRows) or isinstance(ys[j], SketchedRows)
    ]
    found = np.zeros((len(measures), 3, *needed.shape))

    def one(pair: tuple[int, int]) -> list[tuple[float, float, float]]:
        return [_of_pair(record, firsts[pair[0]], seconds[pair[1]], units) for record in measures.values()]

    for (i, j), numbers in zip(pairs, each(one, pairs), strict=True):
        found[:, :, i, j] = numbers
    return {name: SketchErrors(*matrices) for name, matrices in zip(measures, found, strict=True)}


def _of_pair(record: Measure, x: Any, y: Any, units: np.ndarray | None) -> tuple[float, float, float]:
    shared = record.family.meet(x, y)
    value = partial(record.value, None, None)
    shift, error = (float(number) for number in off_by(value, shared))
    noise = noise_over_examples(slopes(value, shared)[0], x, y, units) if error > 0 else 0.0
    return shift, error, max(noise, 0.0)
