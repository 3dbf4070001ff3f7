"""Structure family: centred n×n similarity structures, and their inner products (HSIC, CKA).

Every statistic comes from the centred Gram matrix K = HKH: the inner product ⟨K, L⟩, the diagonals k, l and the traces.
U-centring removes what is additive in rows and columns, and so does centring; hence for every kernel

    ⟨Ã, B̃⟩ = ⟨K, L⟩ − n/(n−2) · k·l + tr K · tr L / ((n−1)(n−2)),

and the biased and the debiased estimators share one operand and one inner product (Székely & Rizzo 2014).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from homolog.arrays import Array, identity_like, machine_epsilon, namespace, scalar, to_numpy
from homolog.cautions import Caution, constant_layers
from homolog.linalg import at_most_one, centre, power_of_two, squared_norm
from homolog.registry import KORNBLITH_2019, Family, Invariances, evaluate, register, undefined_where, when

Kernel = Literal["linear", "rbf"] | Callable[[Any], Any]
Estimator = Literal["biased", "debiased"]


@dataclass(frozen=True)
class Structure:
    """The centred similarity structure of a representation, divided by `scale`."""

    n: int
    features: Array | None
    """(n, p) centred features for the linear kernel, else None."""
    given_gram: Array | None
    """(n, n) centred Gram matrix for the other kernels, else None."""
    diagonal: Array
    """(n,) diagonal of the centred Gram matrix."""
    scale: Array
    """0-d: the Gram matrix in the units of the input is gram · scale², squared only where HSIC needs it."""
    constant: Array
    """0-d bool: nothing varies."""

    @cached_property
    def gram(self) -> Array:
        """(n, n) centred Gram matrix."""
        return self.given_gram if self.features is None else self.features @ self.features.T

    @cached_property
    def trace(self) -> Array:
        """Trace of the centred Gram matrix."""
        return namespace(self.diagonal).sum(self.diagonal)

    @cached_property
    def own(self) -> Array:
        """⟨K, K⟩."""
        return meet(self, self)

    def own_term(self, estimator: Estimator) -> Array:
        """Norm that CKA divides by: square root of the estimator's self-term."""
        xp = namespace(self.diagonal)
        squared = numerator(self, self, self.own, estimator)
        # U-centring can leave nothing but rounding, for instance of one example that differs from all others.
        vanishes = squared <= self.n * machine_epsilon(squared) * self.own
        return xp.sqrt(xp.where(vanishes, xp.full_like(squared, float("nan")), squared))


def prepare(x: Array, *, kernel: Kernel = "linear", median_fraction: float = 1.0) -> Structure:
    """Centre the features (linear kernel) or the Gram matrix (any other kernel)."""
    xp = namespace(x)
    centred = centre(x)
    constant = xp.all(centred.dead)
    if kernel == "linear":
        features = centred.features
        diagonal = xp.sum(features * features, axis=1)
        return Structure(x.shape[0], features, None, diagonal, centred.scale, constant)
    raw = rbf_gram(centred.features, median_fraction) if kernel == "rbf" else _called(kernel, x)
    gram, scale = _centre_gram(raw)
    # The Gram matrix was scaled to about 1, so what centring leaves of a constant one is rounding.
    varies = xp.max(xp.abs(gram)) > x.shape[0] * machine_epsilon(x)
    return Structure(x.shape[0], None, gram, xp.linalg.diagonal(gram), xp.sqrt(scale), constant | ~varies)


def _called(kernel: Callable[[Any], Any], x: Array) -> Array:
    xp = namespace(x)
    n = x.shape[0]
    gram = kernel(x)
    if getattr(gram, "shape", None) != (n, n):
        got = getattr(gram, "shape", None)
        raise ValueError(
            f"a kernel must map X of shape {tuple(x.shape)} to a Gram matrix of shape {(n, n)}, got "
            f"{'shape ' + str(tuple(got)) if got is not None else type(gram).__name__}: one entry per pair of examples."
        )
    return xp.astype(gram, x.dtype)


def _centre_gram(gram: Array) -> tuple[Array, Array]:
    """Return HKH divided by a power of two, and that power."""
    xp = namespace(gram)
    scale = power_of_two(gram)
    gram = gram / scale
    # Subtracting one number from every entry first keeps the means from cancelling.
    gram = gram - xp.mean(gram)
    columns = xp.mean(gram, axis=0, keepdims=True)
    rows = xp.mean(gram, axis=1, keepdims=True)
    return gram - columns - rows + xp.mean(gram), scale


def squared_distances(features: Array) -> Array:
    """Return the (n, n) squared Euclidean distances of centred rows, diagonal exactly 0, never negative."""
    xp = namespace(features)
    gram = features @ features.T
    norms = xp.linalg.diagonal(gram)
    squared = norms[:, None] + norms[None, :] - 2 * gram
    positive = xp.where(squared > 0, squared, xp.zeros_like(squared))
    return positive * (1 - identity_like(gram))


def rbf_gram(features: Array, median_fraction: float) -> Array:
    """Return exp(−d² / (2·fraction²·median(d²))), the median over all n×n entries, zero diagonal included."""
    xp = namespace(features)
    squared = squared_distances(features)
    if scalar(xp.max(squared)) == 0:
        return xp.ones_like(squared)
    middle = median(squared)
    if scalar(middle) == 0:
        raise ValueError(
            "the RBF kernel needs a positive median distance, got 0: over half of the pairs of rows are equal, so "
            "drop duplicate examples or use the linear kernel."
        )
    return xp.exp(-squared / (2 * median_fraction**2 * middle))


def median(values: Array) -> Array:
    """Return NumPy's median (mean of the middle pair) of all entries, as a 0-d array that carries gradients."""
    xp = namespace(values)
    flat = xp.reshape(values, (-1,))
    low, high = (flat.shape[0] - 1) // 2, flat.shape[0] // 2
    # Selecting on the host costs O(n²), sorting O(n² log n); the two indices then pick from the array itself.
    order = np.argpartition(to_numpy(flat), [low, high])
    return (flat[int(order[low])] + flat[int(order[high])]) / 2


def meet(x: Structure, y: Structure) -> Array:
    """⟨K, L⟩: through features, ‖X^T Y‖², where both have at most n of them; else through Gram matrices."""
    xp = namespace(x.diagonal)
    if x.features is not None and y.features is not None and max(x.features.shape[1], y.features.shape[1]) <= x.n:
        return squared_norm(x.features.T @ y.features)
    return xp.sum(x.gram * y.gram)


def numerator(x: Structure, y: Structure, inner: Array, estimator: Estimator) -> Array:
    """⟨K, L⟩ (biased) or ⟨Ã, B̃⟩ (debiased), from centred statistics."""
    if estimator == "biased":
        return inner
    n, xp = x.n, namespace(inner)
    diagonals = xp.sum(x.diagonal * y.diagonal)
    return inner - n / (n - 2) * diagonals + x.trace * y.trace / ((n - 1) * (n - 2))


def examine(operands: Mapping[str, Structure], pairs: Sequence[tuple[str, str]]) -> list[Caution]:
    """Name the constant layers."""
    return constant_layers([label for label, operand in operands.items() if bool(operand.constant)])


STRUCTURE = Family("structure", prepare, meet, lambda inner: inner, examine, ("kernel", "median_fraction"))


def _hsic(x: Structure, y: Structure, inner: Array, *, estimator: Estimator) -> Array:
    n = x.n
    count = (n - 1) ** 2 if estimator == "biased" else n * (n - 3)
    value = numerator(x, y, inner, estimator) / count * (x.scale * y.scale) ** 2
    return undefined_where(x.constant | y.constant, value)


def _cka(x: Structure, y: Structure, inner: Array, *, estimator: Estimator) -> Array:
    # One division per norm: the product of two self-terms could leave the range of the dtype.
    value = numerator(x, y, inner, estimator) / x.own_term(estimator) / y.own_term(estimator)
    if estimator == "biased":
        value = at_most_one(value)
    return undefined_where(x.constant | y.constant, value)


def _cka_null(x: Structure, y: Structure, *, estimator: Estimator) -> Array | None:
    if estimator != "biased":
        return None
    xp = namespace(x.diagonal)
    level = x.trace / xp.sqrt(x.own) * y.trace / xp.sqrt(y.own) / (x.n - 1)
    return undefined_where(x.constant | y.constant, level)


_UNKNOWN_KERNEL = when("kernel", callable, invariances=None)
_BANDWIDTH: dict[str, Any] = {
    "bounds": {"median_fraction": (0, float("inf"))},
    "needs": {"median_fraction": ("kernel", "rbf")},
}


@register(
    family=STRUCTURE,
    finish=_hsic,
    kind="similarity",
    range=(0.0, float("inf")),
    symmetric=True,
    invariances=Invariances(orthogonal="xy", isotropic_scaling=""),
    differentiable=True,
    formula="tr(KHLH) / (n−1)²",
    reference="Gretton, Bousquet, Smola & Schölkopf, ALT 2005; " + KORNBLITH_2019,
    exceptions={"optimum": "HSIC has no largest value"},
    variants=(
        when("kernel", "rbf", invariances=Invariances(orthogonal="xy")),
        _UNKNOWN_KERNEL,
        when("estimator", "debiased", range=(float("-inf"), float("inf")), minimal_n=4, formula="⟨Ã, B̃⟩ / (n(n−3))"),
    ),
    **_BANDWIDTH,
)
def hsic(
    x: Array,
    y: Array,
    /,
    *,
    kernel: Kernel = "linear",
    median_fraction: float = 1.0,
    estimator: Estimator = "biased",
) -> Array:
    """Hilbert-Schmidt independence criterion.

    Biased: tr(KHLH) / (n−1)², with K, L the Gram matrices of the rows of x and y and H the centring matrix; for the
    linear kernel ‖Y^T X‖_F² / (n−1)² of centred columns. Debiased: ⟨Ã, B̃⟩ / (n(n−3)) of the U-centred Gram matrices.

    Parameters
    ----------
    x : (n, p) array
    y : (n, q) array, the same examples in the same order.
    kernel : "linear", "rbf" (σ = median_fraction × median distance), or a function X → (n, n) Gram matrix.
    median_fraction : σ of the RBF kernel, as a fraction of the median over all n² distances.
    estimator : "biased" or "debiased" (n >= 4).

    Returns
    -------
    0-d array, in [0, ∞) when biased; in the units of the features to the fourth power for the linear kernel. NaN, with
    a warning, if a side is constant.

    Raises
    ------
    ValueError, TypeError
        For arrays that are not two real (n, ·) representations, too few examples, or a wrong option.

    Notes
    -----
    Cost O(n·p·q), or O(n²(p + q)) when features outnumber examples and for other kernels. Not invariant to scaling:
    compare values only between layers of one scale, or use `cka`.

    References
    ----------
    Gretton et al., ALT 2005; Székely & Rizzo, Annals of Statistics 2014; Kornblith et al., ICML 2019.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> round(float(hl.hsic(x, x)), 12)  # the squared variance
    2.777777777778
    """
    return evaluate("hsic", x, y, kernel=kernel, median_fraction=median_fraction, estimator=estimator)


@register(
    family=STRUCTURE,
    finish=_cka,
    null=_cka_null,
    kind="similarity",
    range=(0.0, 1.0),
    symmetric=True,
    invariances=Invariances(orthogonal="xy"),
    differentiable=True,
    formula="tr(KHLH) / sqrt(tr(KHKH) · tr(LHLH))",
    reference=KORNBLITH_2019,
    variants=(
        _UNKNOWN_KERNEL,
        when("estimator", "debiased", range=(-1.0, 1.0), minimal_n=4, formula="⟨Ã, B̃⟩ / sqrt(⟨Ã, Ã⟩ · ⟨B̃, B̃⟩)"),
    ),
    **_BANDWIDTH,
)
def cka(
    x: Array,
    y: Array,
    /,
    *,
    kernel: Kernel = "linear",
    median_fraction: float = 1.0,
    estimator: Estimator = "biased",
) -> Array:
    """Centred kernel alignment: how alike are the similarity structures of two representations.

    Biased: tr(KHLH) / sqrt(tr(KHKH) · tr(LHLH)); for the linear kernel ‖Y^T X‖_F² / (‖X^T X‖_F ‖Y^T Y‖_F) of centred
    columns. Debiased: the same ratio of U-centred Gram matrices.

    Parameters
    ----------
    x : (n, p) array
    y : (n, q) array, the same examples in the same order.
    kernel : "linear", "rbf" (σ = median_fraction × median distance), or a function X → (n, n) Gram matrix.
    median_fraction : σ of the RBF kernel, as a fraction of the median over all n² distances, zero diagonal included.
    estimator : "biased" or "debiased" (n >= 4).

    Returns
    -------
    0-d array: in [0, 1] when biased. Debiased it lies in [−1, 1]; a small negative value means no similarity beyond
    chance, and is never clipped. NaN, with a warning, if a side is constant.

    Raises
    ------
    ValueError, TypeError
        For arrays that are not two real (n, ·) representations, too few examples, or a wrong option.

    Notes
    -----
    Cost O(n·p·q), or O(n²(p + q)) when features outnumber examples and for other kernels. The biased value rises towards
    1 when features outnumber examples, even for independent data; the debiased one does not.

    References
    ----------
    Kornblith, Norouzi, Lee & Hinton, ICML 2019; Cortes, Mohri & Rostamizadeh, JMLR 2012 (CKA); Székely & Rizzo,
    Annals of Statistics 2014 (U-centring).

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> x = np.random.default_rng(0).normal(size=(100, 10))
    >>> rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(10, 10)))
    >>> round(float(hl.cka(x, 3 * x @ rotation)), 12)
    1.0
    """
    return evaluate("cka", x, y, kernel=kernel, median_fraction=median_fraction, estimator=estimator)
