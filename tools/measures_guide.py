"""What a reader should know of every measure beyond its formula: used by measures_page.py, complete by a test."""

from __future__ import annotations

from typing import NamedTuple


class Advice(NamedTuple):
    """What stands beside a measure."""

    blind: str
    """What it cannot see."""
    fooled: str
    """What makes it high or low for no good reason."""
    null: str
    """What independent data score."""
    cost: str
    """Of one pair of layers."""
    take: str
    """When to choose it."""


STRUCTURE = "n·p·q for narrow layers, n²(p + q) for wide ones; a layer's structure serves all its pairs"
DISTANCES = "n²(p + q), and n² exponentials or roots per layer"
SUBSPACE = "an SVD of each layer, n·p·min(n, p), then n·p·q"
UNITS = "n·p·q, and an assignment of the units"
NEAR = "n²(p + q), in bounded memory"

GUIDE: dict[str, Advice] = {
    "hsic": Advice(
        "nothing of the structure, but it has no scale: values mean nothing alone",
        "the size of the activations: the layer with the largest norms is everybody's best match",
        "debiased: 0",
        STRUCTURE,
        "as a building block; to compare layers take `cka`",
    ),
    "cka": Advice(
        "directions of small variance; with the linear kernel, anything but inner products",
        "one outlier or one translated cluster; more features than examples (biased)",
        "biased: `cka_null`, towards 1 for wide layers; debiased: 0",
        STRUCTURE,
        "first, debiased; `kernel=rbf` where neighbourhoods matter more than the large directions",
    ),
    "distance_correlation": Advice(
        "little: in the population only independent data score 0",
        "heavy tails less than linear CKA; more features than examples (biased)",
        "biased: rises towards 1 with the width; debiased, which estimates its square: 0",
        DISTANCES,
        "for relations that are not linear; it ranks high across domains in ReSi",
    ),
    "deconfounded_cka": Advice(
        "what is a multiple of the inputs' Gram matrix, on purpose",
        "inputs that are only a part of the confounder; what `cka` is fooled by",
        "biased: as `cka`; debiased: 0",
        "n²(p + q), and the Gram matrix of the inputs once per layer",
        "where two networks look alike because their inputs differ in an obvious way",
    ),
    "rsa": Advice(
        "with ranks, by how much distances differ",
        "clusters: a few far groups decide most ranks; `comparison=cosine` is high for any two layers; examples without a direction "
        "(zeros for `cosine`, equal features for `correlation`), which count as 1 away from all others, with a warning",
        "0, but 0.5 and more with comparison=cosine; pairs of examples are not independent",
        "n²(p + q), sorting n²/2 numbers; `kendall` n² log n per pair",
        "to compare with neuroscience; euclidean and spearman where scales differ",
    ),
    "rsm_norm_difference": Advice(
        "nothing of the distances, but it adds them up with their scale",
        "the size of the activations, and the number of examples",
        "grows with the norms; none in general",
        DISTANCES,
        "for two versions of one layer in one scale: quantised, pruned, fine-tuned",
    ),
    "cca": Advice(
        "how much each direction varies",
        "noise directions, which count like any other; ranks near n",
        "`cca_null`, max(r_x, r_y) / (n − 1)",
        SUBSPACE,
        "where any invertible linear map should be ignored, and n is ten times the width",
    ),
    "svcca": Advice(
        "directions beyond the threshold; how much the others vary",
        "a threshold that cuts through a plateau of the spectrum; through equal singular values, with a warning",
        "`svcca_null`",
        SUBSPACE,
        "where CCA drowns in noise directions",
    ),
    "pwcca": Advice(
        "what y varies in beyond x: weights are those of x",
        "the side that comes first; ranks near n",
        "no formula; a permutation test",
        SUBSPACE + ", and an SVD of the overlap",
        "to reproduce papers that used it",
    ),
    "linear_regression": Advice(
        "what the predictors vary in beyond the target",
        "many predictors: R² is that of the sample",
        "`linear_regression_null`, r / (n − 1)",
        SUBSPACE,
        "where n is many times the rank; else `linear_predictivity`",
    ),
    "procrustes_distance": Advice(
        "rotations, reflections, scale",
        "wide layers: independent ones come nearer",
        "no formula; below sqrt 2, falling with the width",
        SUBSPACE + ", and the singular values of r_x × r_y numbers",
        "where a metric is needed; it weighs small directions more than CKA",
    ),
    "canonical_ridge": Advice(
        "between what `cca` and `cka` are blind to, by its regularization",
        "a regularization chosen after seeing the values",
        "no formula; a permutation test",
        SUBSPACE,
        "to see whether a finding hangs on the choice between CCA and CKA",
    ),
    "gaussian_mutual_information": Advice(
        "everything but canonical correlations",
        "correlations near 1: one direction decides, and is infinite at 1",
        "no formula; grows with r_x·r_y / n",
        SUBSPACE,
        "rarely: it ignores what varies, and saturates first",
    ),
    "bures_similarity": Advice(
        "rotations, reflections, scale",
        "wide layers: independent ones score high",
        "no formula; rises with the width",
        SUBSPACE + ", and the singular values of r_x × r_y numbers",
        "as the similarity that belongs to `procrustes_distance`",
    ),
    "size_and_shape_distance": Advice(
        "rotations and reflections",
        "the size of the activations, and the number of examples",
        "near sqrt(‖X‖² + ‖Y‖²), below it for wide layers",
        SUBSPACE + ", and the singular values of r_x × r_y numbers",
        "for two versions of one layer in one scale, up to rotation",
    ),
    "angular_shape_distance": Advice(
        "rotations, reflections, scale; at alpha=0 every invertible linear map",
        "wide layers; at alpha near 0 noise directions",
        "no formula; below π/2",
        SUBSPACE + ", and the singular values of r_x × r_y numbers",
        "for embeddings and clusters of many layers: angles add along geodesics",
    ),
    "eigenspace_overlap": Advice(
        "how much each direction varies",
        "ranks: a narrow layer can never reach a wide one",
        "`eigenspace_overlap_null`, min(r_x, r_y) / (n − 1)",
        SUBSPACE,
        "to ask whether two layers of equal width span the same space",
    ),
    "gulp_distance": Advice(
        "directions well below the regularization",
        "the number of directions above the regularization: wide layers are far from everything",
        "about sqrt of the sum of both effective dimensions",
        SUBSPACE,
        "where the use is linear prediction with a known ridge penalty",
    ),
    "linear_predictivity": Advice(
        "what the predictors vary in beyond the target",
        "a penalty far from the best one; copies of examples, which are never left out together",
        "0 or below",
        SUBSPACE + ", and n·r_x·r_y",
        "for how well one layer predicts another on examples not seen, as encoding models do",
    ),
    "aligned_cosine": Advice(
        "the lengths of rows",
        "wide layers; examples near the mean, whose direction is noise",
        "no formula; rises with the width",
        SUBSPACE + ", and n·r_x·r_y",
        "for word-like representations, example by example",
    ),
    "bipartite_match": Advice(
        "how much units vary; combinations of units",
        "rotation: the same subspace in another basis scores low; few examples",
        "no formula; the best of many correlations, high for small n",
        UNITS,
        "to ask whether single units recur (hard correlation match)",
    ),
    "semi_match": Advice(
        "units of y that nobody chose",
        "one unit of y that suits many; few examples",
        "no formula; high for small n",
        "n·p·q",
        "to ask whether each unit of x has a like in y",
    ),
    "soft_correlation_match": Advice(
        "how much units vary; combinations of units",
        "one unit that suits many; few examples",
        "no formula; high for small n",
        "n·p·q",
        "as `semi_match`, where neither side is first",
    ),
    "permutation_procrustes_distance": Advice(
        "combinations of units",
        "unequal widths: units without a partner count whole",
        "no formula; about 1.3, falling slowly with the width",
        UNITS,
        "for merging by permutation: it is what such a merge can align",
    ),
    "soft_matching_distance": Advice(
        "combinations of units",
        "one strong unit against many weak ones, which cannot share it",
        "no formula; about 1.3, falling slowly with the width",
        "n·p·q, and a transport plan, about p·q·(p + q)",
        'as permutation Procrustes for layers of unequal width; needs `pip install "homolog[transport]"` for those',
    ),
    "maximum_match": Advice(
        "how much units vary; everything within epsilon",
        "nearly as many units as examples: everything is in every span",
        "0, until the spans fill the space",
        "n(p + q)² a round",
        "for groups of units that span the same, at a stated tolerance",
    ),
    "neuron_mutual_information": Advice(
        "combinations of units; monotone maps of a unit, on purpose",
        "few examples for a hundred cells of a histogram",
        "near 0, slightly above: the best of many",
        "100·n·p·q, and an assignment",
        "for single units related in ways that are not linear",
    ),
    "mutual_knn": Advice(
        "everything but who is nearest: distances, far structure",
        "a mean offset; near copies in the data; k near n; rows of zeros, whose cosines count as 0, with a warning",
        "`mutual_knn_null`, k / (n − 1)",
        NEAR,
        "for alignment across models of any width and modality",
    ),
    "jaccard_knn": Advice(
        "as `mutual_knn`",
        "as `mutual_knn`",
        "`jaccard_knn_null`, about k / (2n)",
        NEAR,
        "as `mutual_knn`; it leads in vision in ReSi",
    ),
    "rank_similarity": Advice(
        "how many neighbours are shared: only the order of those that are",
        "few shared neighbours: one that is first in both counts whole",
        "no formula; low",
        NEAR,
        "beside `jaccard_knn`, for the order within the neighbourhood",
    ),
    "second_order_cosine": Advice(
        "far structure",
        "a mean offset: all cosines are near 1, and so is the value",
        "about 0 for centred features, near 1 where all cosines are positive",
        NEAR + ", and n·k(p + q) a pair",
        "for embeddings where cosines are meaningful; it leads on graphs in ReSi",
    ),
    "cknna": Advice(
        "pairs that are not neighbours in both",
        "a mean offset; small n, where it may be undefined",
        "about 0, above by chance",
        NEAR,
        "between `mutual_knn` and debiased `cka`; k moves it from one to the other",
    ),
    "magnitude_difference": Advice(
        "everything but the norm of the mean; the order of the examples",
        "the scale of the features",
        "none: no correspondence is asked for",
        "n(p + q)",
        "to notice that activations grew or shrank",
    ),
    "uniformity_difference": Advice(
        "everything but how far rows lie apart; the order of the examples",
        "a scale at which all rows are far apart: every layer has −log n",
        "none: no correspondence is asked for",
        DISTANCES,
        "for normalised embeddings of contrastive training",
    ),
    "concentricity_difference": Advice(
        "everything but the angle to the mean; the order of the examples",
        "a mean offset, which brings it to 0 for any two layers; rows of zeros, which count as 0, with a warning",
        "none: no correspondence is asked for",
        "n(p + q)",
        "to notice collapse towards one direction",
    ),
}
