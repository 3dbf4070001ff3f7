"""Two more indexes of the structure family, of kernels nobody chooses: distances, and what inputs leave of a Gram matrix."""

from __future__ import annotations

from typing import Annotated, Any

from homolog.arrays import Array, namespace, scalar
from homolog.families.grams import Structure
from homolog.families.structure import STRUCTURE, Estimator, Meeting, alignment
from homolog.gradients import CORNER, smooth_unless
from homolog.registry import register, when

CONFOUNDER = """(n, ·) array of what both networks were given, or any other confounder, in the same order. Without it nothing is
removed, the value is that of `cka`, and a MissingInputsWarning says so."""


@register(
    STRUCTURE,
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
    x: Structure, y: Structure, met: Meeting, *, estimator: Estimator = "biased"
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
    value = alignment(met, estimator)
    if estimator == "debiased":
        return value
    xp = namespace(value)
    positive = ~(value <= 0)
    root = xp.where(positive, xp.sqrt(xp.where(positive, value, xp.ones_like(value))), xp.zeros_like(value))
    reason = "the representations are independent, where a root has a corner"
    return smooth_unless(root, lambda: scalar(value) <= CORNER, reason, value)


@register(
    STRUCTURE,
    fixed={"kernel": "residual"},
    unbiased={"estimator": "debiased"},
    kind="similarity",
    range=(0.0, 1.0),
    formula="CKA of K − α_K K₀ and L − α_L K₀, α = ⟨K, K₀⟩ / ‖K₀‖_F², K₀ the Gram matrix of the inputs, all centred",
    reference="Cui, Kumar, Marttinen & Kaski, NeurIPS 2022, arXiv:2202.00095",
    variants=(when("estimator", "debiased", range=(-1.0, 1.0), minimal_n=4),),
)
def deconfounded_cka(
    x: Structure,
    y: Structure,
    met: Meeting,
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
    return alignment(met, estimator)
