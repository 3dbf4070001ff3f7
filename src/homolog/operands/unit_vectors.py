"""Unit vectors family: units as vectors over the examples, matched where they lie in the span of the other side's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from homolog.arrays import Array, namespace, to_numpy
from homolog.blocks.budget import Cost, Sizes
from homolog.diagnostics import Caution
from homolog.operands.family import Family, Pairs, is_constant
from homolog.operands.representation import ArrayRepresentation
from homolog.warning_sentences import full_spans


@dataclass(frozen=True)
class UnitVectors:
    """Units as unit vectors over the examples; nothing is centred, and vectors of zeros are left out."""

    units: Array
    """(n, p') columns of norm 1."""
    constant: Array
    """0-d bool: no unit varies."""

    def reordered(self, order: np.ndarray) -> UnitVectors:
        """Return the units over the same examples in another order."""
        return replace(self, units=self.units[order, :])


@final
class UnitVectorFamily(Family):
    """Measures of which units the other side's span."""

    name = "unit vectors"

    def prepare(self, x: ArrayRepresentation, **_: Any) -> UnitVectors:
        """Scale every unit to norm 1."""
        xp, given = namespace(x.array), x.array
        largest = xp.max(xp.abs(given), axis=0)
        alive = np.flatnonzero(to_numpy(largest > 0))
        kept = xp.stack([given[:, int(i)] / largest[int(i)] for i in alive], axis=1) if len(alive) else given[:, :0]
        return UnitVectors(kept / xp.sqrt(xp.sum(kept**2, axis=0))[None, :], x.constant)

    def meet(self, x: UnitVectors, y: UnitVectors) -> None:
        """Share nothing: every threshold has its own matches."""

    def remarks(self, operands: Mapping[str, UnitVectors], pairs: Pairs) -> list[Caution]:
        """Name the layers whose units span everything."""
        full = [name for name, x in operands.items() if x.units.shape[1] >= x.units.shape[0] and not is_constant(x)]
        return full_spans(full)

    def cost(self, sizes: Sizes, **_: Any) -> Cost:
        """Return what one round of projections takes."""
        n, p, (i, j), most = sizes.n, sizes.widths.astype(float), sizes.pairs(), sizes.widest
        flops = float(np.sum(4.0 * n * p[i] * p[j] + 4.0 * n * (p[i] ** 2 + p[j] ** 2)))
        per_pair = 80 * n * most + 48 * min(n, most) ** 2
        return Cost(flops, 8 * n * int(sizes.widths.sum()), 32 * n * most, per_pair)


UNIT_VECTORS = UnitVectorFamily()
