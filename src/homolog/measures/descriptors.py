"""Numbers that describe one cloud of points, compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from homolog.arrays import Array, count, namespace, scalar
from homolog.diagnostics import Caution
from homolog.gradients import CORNER, SAME, smooth_unless
from homolog.measures.registry import register
from homolog.operands.clouds import STATISTICS, Cloud
from homolog.operands.family import Invariances, undefined_where
from homolog.warning_sentences import without_direction

KLABUNDE_2025 = "Klabunde et al., ICLR 2025, arXiv:2408.00531"


def _no_direction(operands: Mapping[str, Cloud]) -> list[Caution]:
    """Say where the mean counts rows that have no cosine."""
    lost = {
        label: count(~namespace(cloud.points).any(cloud.points != 0, axis=1))
        for label, cloud in operands.items()
        if not bool(cloud.constant)
    }
    return without_direction(lost, "are 0 in all features", "their cosine with the mean is taken as 0")


def _between(x: Cloud, y: Cloud, name: str) -> Array:
    first, second = getattr(x, name), getattr(y, name)
    apart = smooth_unless(namespace(first).abs(first - second), lambda: _alike(first, second), SAME)
    return undefined_where(x.constant | y.constant, apart)


def _alike(first: Array, second: Array) -> bool:
    """Say whether two numbers differ by no more than rounding."""
    values = scalar(first), scalar(second)
    return abs(values[0] - values[1]) <= CORNER * max(abs(value) for value in values)


@register(
    STATISTICS,
    range=(0.0, float("inf")),
    invariances=Invariances(orthogonal="xy", isotropic_scaling="", translation=""),
    formula="| ‖mean_i x_i‖ − ‖mean_i y_i‖ |",
    reference="Wang, Rao, Guo, Wang, Liu & Guan, IEEE TKDE 2022; " + KLABUNDE_2025,
)
def magnitude_difference(
    x: Cloud, y: Annotated[Cloud, "the same examples; their order does not matter."], shared: None
) -> Annotated[Array, "In the units of the features."]:
    """Difference of the norms of the mean rows.

    | ‖mean_i x_i‖ − ‖mean_i y_i‖ |

    Cost O(n(p + q)). Says how large activations are on average, nothing of what they represent; 0 says little.

    >>> x = np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> round(float(hl.magnitude_difference(x, 3 * x)), 6)  # 2·sqrt(1² + 2²)
    4.472136
    """
    return _between(x, y, "magnitude")


@register(
    STATISTICS,
    range=(0.0, float("inf")),
    invariances=Invariances(orthogonal="xy", isotropic_scaling=""),
    formula="|u(x) − u(y)|, u(x) = log mean_ij exp(−2‖x_i − x_j‖²)",
    reference="Wang & Isola, ICML 2020, arXiv:2005.10242; " + KLABUNDE_2025,
)
def uniformity_difference(
    x: Cloud, y: Annotated[Cloud, "the same examples; their order does not matter."], shared: None
) -> Annotated[Array, "At most log n."]:
    """Difference in how evenly the examples fill the space.

    |u(x) − u(y)| with u(x) = log mean_ij exp(−2‖x_i − x_j‖²), over all n² pairs.

    Cost O(n²(p + q)) in bounded memory. The width of the Gaussian is fixed: u is −log n for every representation whose rows are
    farther apart than about 3, so bring features to a common scale first (Wang & Isola take rows of norm 1).

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(float(hl.uniformity_difference(x, 1000 * x)), 2), round(float(hl.uniformity_difference(10 * x, 1000 * x)), 2)
    (0.32, 0.0)
    """
    return _between(x, y, "uniformity")


@register(
    STATISTICS,
    caution=_no_direction,
    range=(0.0, 2.0),
    invariances=Invariances(orthogonal="xy", translation=""),
    formula="|c(x) − c(y)|, c(x) = mean_i cos(x_i, mean_j x_j)",
    reference="Wang, Rao, Guo, Wang, Liu & Guan, IEEE TKDE 2022; " + KLABUNDE_2025,
)
def concentricity_difference(
    x: Cloud, y: Annotated[Cloud, "the same examples; their order does not matter."], shared: None
) -> Array:
    """Difference in how far the examples point the same way.

    |c(x) − c(y)| with c(x) = mean_i cos(x_i, mean_j x_j).

    Cost O(n(p + q)). A mean offset of the features brings c to 1 whatever the rest.

    >>> x = np.array([[1.0, 1.0], [1.0, -1.0]])
    >>> round(float(hl.concentricity_difference(x, x + [1000.0, 0.0])), 6)  # 1 − cos 45°
    0.292893
    """
    return _between(x, y, "concentricity")
