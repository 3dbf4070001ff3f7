"""Inner products of centred similarity structures: HSIC, CKA, distance correlation, and CKA without what inputs explain.

The formulas read nothing but what a pair shares: the kernel is in it, and where all pairs of layers meet at once `shared` has
fields over all of them, and there are no operands x and y. The arithmetic of the estimators is
`operands.gram_products.inner_product`.
"""

from __future__ import annotations

from typing import Annotated, Any

from homolog.arrays import Array, namespace, scalar
from homolog.gradients import CORNER, smooth_unless
from homolog.linalg import at_most_one
from homolog.measures.record import KORNBLITH_2019, when
from homolog.measures.registry import register
from homolog.operands.family import Invariances, undefined_where
from homolog.operands.gram import Kernel, MedianFraction
from homolog.operands.gram_orders import order_matrix, order_score
from homolog.operands.gram_products import Estimator, GramProducts, inner_product, norm
from homolog.operands.gram_statistics import STRUCTURE, without_each
from homolog.operands.small_tensors import quick_alignment
from homolog.operands.structures import Gram


def dependence(shared: GramProducts, estimator: Estimator) -> Array:
    """HSIC of whatever kernel the structures have."""
    n = shared.n
    count = (n - 1) ** 2 if estimator == "biased" else n * (n - 3)
    top = inner_product(n, shared.off_diagonal, shared.diagonals, shared.traces, estimator)
    return undefined_where(shared.x.constant | shared.y.constant, top / count * (shared.x.scale * shared.y.scale) ** 2)


def alignment(shared: GramProducts, estimator: Estimator) -> Array:
    """CKA of whatever kernel the structures have."""
    top = inner_product(shared.n, shared.off_diagonal, shared.diagonals, shared.traces, estimator)
    # One division per norm: the product of two self-terms could leave the range of the dtype.
    value = top / norm(shared.x, shared.n, estimator) / norm(shared.y, shared.n, estimator)
    if estimator == "biased" and shared.exact:
        value = at_most_one(value)
    return undefined_where(shared.x.constant | shared.y.constant, value)


def _cka_null(x: Gram, y: Gram, shared: GramProducts, *, estimator: Estimator) -> Array | None:
    if estimator != "biased":
        return None
    first, second = (own.trace / norm(own, shared.n, "biased") for own in (shared.x, shared.y))
    return undefined_where(shared.x.constant | shared.y.constant, first * second / (shared.n - 1))


def _cka_quick(x: Array, y: Array, *, kernel: Kernel, median_fraction: float, estimator: Estimator) -> Array | None:
    return quick_alignment(x, y, estimator) if kernel == "linear" else None


def _hsic_without_each(x: Gram, y: Gram, shared: GramProducts, *, estimator: Estimator) -> Array:
    return dependence(without_each(x, y), estimator)


def _cka_without_each(x: Gram, y: Gram, shared: GramProducts, *, estimator: Estimator) -> Array:
    return alignment(without_each(x, y), estimator)


_UNKNOWN_KERNEL = when("kernel", callable, invariances=None)
_BANDWIDTH: dict[str, Any] = {
    "bounds": {"median_fraction": (0, float("inf"))},
    "needs": {"median_fraction": ("kernel", "rbf")},
}


@register(
    STRUCTURE,
    order_score=order_score,
    order_matrix=order_matrix,
    without_each=_hsic_without_each,
    unbiased={"estimator": "debiased"},
    long_tailed=True,
    kind="similarity",
    range=(0.0, float("inf")),
    invariances=Invariances(orthogonal="xy", isotropic_scaling=""),
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
    x: Gram,
    y: Gram,
    shared: GramProducts,
    *,
    kernel: Kernel = "linear",
    median_fraction: MedianFraction = 1.0,
    estimator: Estimator = "biased",
) -> Annotated[Array, "In the units of the features to the fourth power for the linear kernel."]:
    """Hilbert-Schmidt independence criterion.

    Biased: tr(KHLH) / (n−1)², with K, L the Gram matrices of the rows of x and y and H the centring matrix; for the
    linear kernel ‖Y^T X‖_F² / (n−1)² of centred columns. Debiased: ⟨Ã, B̃⟩ / (n(n−3)) of the U-centred Gram matrices.

    Cost O(n·p·q), or O(n²(p + q)) when features outnumber examples and for other kernels. Not invariant to scaling:
    compare values only between layers of one scale, or use `cka`.

    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> round(float(hl.hsic(x, x)), 12)  # the squared variance
    2.777777777778
    """
    return dependence(shared, estimator)


@register(
    STRUCTURE,
    order_score=order_score,
    order_matrix=order_matrix,
    null=_cka_null,
    quick=_cka_quick,
    without_each=_cka_without_each,
    unbiased={"estimator": "debiased"},
    kind="similarity",
    range=(0.0, 1.0),
    formula="tr(KHLH) / sqrt(tr(KHKH) · tr(LHLH))",
    reference=KORNBLITH_2019,
    variants=(
        _UNKNOWN_KERNEL,
        when("estimator", "debiased", range=(-1.0, 1.0), minimal_n=4, formula="⟨Ã, B̃⟩ / sqrt(⟨Ã, Ã⟩ · ⟨B̃, B̃⟩)"),
    ),
    **_BANDWIDTH,
)
def cka(
    x: Gram,
    y: Gram,
    shared: GramProducts,
    *,
    kernel: Kernel = "linear",
    median_fraction: MedianFraction = 1.0,
    estimator: Estimator = "biased",
) -> Annotated[Array, "Debiased, a small negative value means no similarity beyond chance, and is never clipped."]:
    """Centred kernel alignment: how alike are the similarity structures of two representations.

    Biased: tr(KHLH) / sqrt(tr(KHKH) · tr(LHLH)); for the linear kernel ‖Y^T X‖_F² / (‖X^T X‖_F ‖Y^T Y‖_F) of centred
    columns. Debiased: the same ratio of U-centred Gram matrices.

    Cost O(n·p·q), or O(n²(p + q)) when features outnumber examples and for other kernels. The biased value rises towards
    1 when features outnumber examples, even for independent data; the debiased one does not.

    >>> x = np.random.default_rng(0).normal(size=(100, 10))
    >>> rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(10, 10)))
    >>> round(float(hl.cka(x, 3 * x @ rotation)), 12)
    1.0
    """
    return alignment(shared, estimator)


CONFOUNDER = """(n, ·) array of what both networks were given, or any other confounder, in the same order. Without it nothing is
removed, the value is that of `cka`, and a MissingInputsWarning says so."""


@register(
    STRUCTURE,
    order_score=order_score,
    order_matrix=order_matrix,
    fixed={"kernel": "distance"},
    unbiased={"estimator": "debiased"},
    rooted=True,
    kind="similarity",
    range=(0.0, 1.0),
    formula="sqrt(⟨HDH, HEH⟩ / (‖HDH‖_F ‖HEH‖_F)), D, E the Euclidean distances between rows",
    reference="Székely, Rizzo & Bakirov, Annals of Statistics 2007, arXiv:0803.4101; Székely & Rizzo, Annals of Statistics 2014",
    variants=(when("estimator", "debiased", range=(-1.0, 1.0), minimal_n=4, formula="⟨D̃, Ẽ⟩ / sqrt(⟨D̃, D̃⟩ · ⟨Ẽ, Ẽ⟩)"),),
)
def distance_correlation(
    x: Gram, y: Gram, shared: GramProducts, *, estimator: Estimator = "biased"
) -> Annotated[Array, "Debiased, about 0 for independent data, and never clipped."]:
    """Distance correlation: whether examples that are far apart in one representation are far apart in the other.

    Biased: sqrt(⟨HDH, HEH⟩ / (‖HDH‖_F ‖HEH‖_F)), D and E the Euclidean distances between rows and H the centring matrix; its
    square is CKA with the kernel −distance. Debiased (bias-corrected): ⟨D̃, Ẽ⟩ / sqrt(⟨D̃, D̃⟩⟨Ẽ, Ẽ⟩) of the U-centred
    distances, which estimates the square.

    Cost O(n²(p + q)). In the population 0 only for independent representations, linear or not. The biased value rises towards 1
    when features outnumber examples.

    >>> x = np.random.default_rng(0).normal(size=(100, 1))
    >>> round(float(hl.distance_correlation(x, x**2)), 1), round(float(hl.cka(x, x**2)), 1)
    (0.6, 0.0)
    """
    value = alignment(shared, estimator)
    if estimator == "debiased":
        return value
    xp = namespace(value)
    positive = ~(value <= 0)
    root = xp.where(positive, xp.sqrt(xp.where(positive, value, xp.ones_like(value))), xp.zeros_like(value))
    reason = "the representations are independent, where a root has a corner"
    return smooth_unless(root, lambda: scalar(value) <= CORNER, reason, value)


@register(
    STRUCTURE,
    order_score=order_score,
    order_matrix=order_matrix,
    fixed={"kernel": "residual"},
    unbiased={"estimator": "debiased"},
    kind="similarity",
    range=(0.0, 1.0),
    formula="CKA of K − α_K K₀ and L − α_L K₀, α = ⟨K, K₀⟩ / ‖K₀‖_F², K₀ the Gram matrix of the inputs, all centred",
    reference="Cui, Kumar, Marttinen & Kaski, NeurIPS 2022, arXiv:2202.00095",
    variants=(when("estimator", "debiased", range=(-1.0, 1.0), minimal_n=4),),
)
def deconfounded_cka(
    x: Gram,
    y: Gram,
    shared: GramProducts,
    *,
    inputs: Annotated[Any, CONFOUNDER] = None,
    estimator: Estimator = "biased",
) -> Array:
    """Linear CKA (dCKA) of what the similarity of the inputs does not explain.

    CKA of K − α_K K₀ and L − α_L K₀, with K, L, K₀ the centred Gram matrices of x, y and the inputs, and α = ⟨K, K₀⟩ / ‖K₀‖_F²
    the least-squares multiple: two networks must not look alike only because both tell apart what differs at their input.

    Cost O(n²(p + q + inputs)). Permutations put what is left of y's Gram matrix in other orders. The paper regresses Gram
    matrices as they are; here all are centred first, so that an offset of the features is neither explained nor compared. To
    compare whole models bind the inputs: `compare(a, b, measures=measure("deconfounded_cka", inputs=images))`.

    >>> rng = np.random.default_rng(0)
    >>> inputs = rng.normal(size=(200, 5))
    >>> x, y = (np.hstack([inputs, 0.3 * rng.normal(size=(200, 5))]) for _ in range(2))
    >>> round(float(hl.cka(x, y)), 2), round(float(hl.deconfounded_cka(x, y, inputs=inputs)), 2)
    (0.99, 0.03)
    """
    return alignment(shared, estimator)
