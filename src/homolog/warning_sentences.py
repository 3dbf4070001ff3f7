"""The sentences of the warnings: what is said of layers, pairs and models, and what to do."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from homolog.diagnostics import (
    BiasWarning,
    Caution,
    ConstantLayerWarning,
    DeadUnitWarning,
    FewModelsWarning,
    FewPermutationsWarning,
    HomologWarning,
    LeftOutWarning,
    MissingInputsWarning,
    NoDirectionWarning,
    NothingLeftWarning,
    NullLevelWarning,
    OrderFreeWarning,
    RankWarning,
    SaturationWarning,
    SketchNoiseWarning,
    SkippedPairWarning,
    TiesWarning,
    UndefinedValueWarning,
    UnknownPairingWarning,
    listed,
)


def _about(category: type[HomologWarning], names: Iterable[str], sentence: str) -> list[Caution]:
    """Say something of layers or pairs, if there are any."""
    names = list(names)
    return [Caution(category, f"{listed(names)}{sentence}")] if names else []


def _counted(counts: Mapping[str, int]) -> list[str]:
    """Name what there is of each layer, if there is any."""
    return [f"{name} ({count})" for name, count in counts.items() if count]


def nothing_left(labels: Sequence[str]) -> list[Caution]:
    """Say which layers are wholly explained by the inputs."""
    sentence = (
        ": the inputs explain all similarities, so that nothing is left to compare and the value is NaN, as for the layer of the "
        "inputs themselves: leave such layers out."
    )
    return _about(NothingLeftWarning, labels, sentence)


def only_noise(columns: Mapping[str, int]) -> list[Caution]:
    """Say of which layers sketches tell nothing: layer → columns of each sketch."""
    found = []
    for k in sorted(set(columns.values())):
        labels = [label for label, own in columns.items() if own == k]
        sentence = (
            f": what two sketches of {k} columns have in common is little more than noise, so that values of CKA may be far off, "
            f"or NaN: extract with sketch={4 * k} or more, or with more examples."
        )
        found += _about(SketchNoiseWarning, labels, sentence)
    return found


def above_one_by_sketches(most: float) -> list[Caution]:
    """Say that similarities estimated from sketches lie above 1, and what they count as."""
    message = (
        f"similarities are estimates from sketches of layers, and some lie above 1, up to {most:.4g}: they count as 1, so that "
        f"these models are at distance 0; a larger sketch= of homolog.extract brings estimates nearer to what is."
    )
    return [Caution(SketchNoiseWarning, message)]


def without_width(labels: Sequence[str]) -> list[Caution]:
    """Say of which layers an RBF kernel has no width."""
    sentence = (
        ": over half of the pairs of examples are equal, so that the median distance is 0, the RBF kernel has no width and the "
        "value is NaN: drop duplicate examples, or use the linear kernel."
    )
    return _about(NothingLeftWarning, labels, sentence)


def all_equal(labels: Sequence[str], dissimilarity: str) -> list[Caution]:
    """Say of which layers all pairs of examples are equally far apart."""
    sentence = (
        f": by {dissimilarity} all pairs of examples are equally far apart, so that nothing is left to compare and the value is "
        f"NaN: take dissimilarity='euclidean', more features ('correlation' needs 3), or more examples."
    )
    return _about(NothingLeftWarning, labels, sentence)


def full_spans(labels: Sequence[str]) -> list[Caution]:
    """Say of which layers the units may span everything."""
    sentence = (
        ": as many units as examples, which may span everything, so that every unit is matched: use more examples or "
        "fewer units."
    )
    return _about(SaturationWarning, labels, sentence)


def all_neighbors(labels: Iterable[str], k: int, n: int) -> list[Caution]:
    """Say that every example is a neighbour of every other."""
    sentence = (
        f": k = {k} with {n} examples, so that every example is a neighbour of every other: use more examples or a "
        f"smaller k."
    )
    return _about(SaturationWarning, labels, sentence)


def tied_neighbors(labels: Sequence[str]) -> list[Caution]:
    """Say of which layers many neighbours are decided by the order of the examples."""
    sentence = (
        ": for more than a twentieth of the examples several others are equally near, and the first of them count as neighbours "
        "on both sides, which raises agreement: compare with a permutation test, which does the same."
    )
    return _about(TiesWarning, labels, sentence)


def without_direction(counts: Mapping[str, int], what: str, instead: str) -> list[Caution]:
    """Say which layers hold examples that have no cosine or correlation with others."""
    names = _counted(counts)
    message = (
        f"some examples {what}, so that they have no direction: {listed(names)}; {instead}, also where two of them are equal: "
        f"leave such examples out on both sides if that is not what you ask."
    )
    return [Caution(NoDirectionWarning, message)] if names else []


def cut_ties(labels: Sequence[str], threshold: float) -> list[Caution]:
    """Say of which layers a threshold keeps some of several equally strong components."""
    sentence = (
        f": threshold={threshold:g} keeps some of several principal components of equal variance, and which, the order of the "
        f"features decides, so that the value is one of many: take a threshold that keeps all or none, or cca."
    )
    return _about(TiesWarning, labels, sentence)


def order_free(name: str, *, grouped: bool = False) -> Caution:
    """Say that permutations can say nothing of a measure; where groups are kept, that of these rows they cannot."""
    message = (
        f"{name} is the same whatever the order of the examples within their groups, so that permutations say nothing of it and "
        f"there are no p-values: groups are kept as they are, and their rows may be equal in x or in y; to exchange whole groups "
        f"instead, compare the means over their rows, or, where activations or a table say whose the rows are, leave groups out."
        if grouped
        else f"{name} is the same whatever the order of the examples, so that permutations say nothing of it and there are no "
        f"p-values: it does not ask which example is which."
    )
    return Caution(OrderFreeWarning, message)


def missing_inputs(labels: Sequence[str]) -> list[Caution]:
    """Say that nothing was removed, if any layer is named."""
    message = (
        "deconfounded_cka was given no inputs: nothing is removed, and its values are those of cka; bind them with "
        "homolog.measure('deconfounded_cka', inputs=x)."
    )
    return [Caution(MissingInputsWarning, message)] if labels else []


def constant_layers(names: Sequence[str]) -> list[Caution]:
    """Say which layers never vary."""
    are = "is" if len(names) == 1 else "are"
    sentence = (
        f" {are} constant over all examples, so no similarity is defined and the value is NaN: leave such layers out, or look "
        f"for a dead layer in the model."
    )
    return _about(ConstantLayerWarning, names, sentence)


def dead_units(counts: Mapping[str, int]) -> list[Caution]:
    """Say which layers hold units that never vary."""
    names = _counted(counts)
    message = (
        f"some units never vary over the examples: {listed(names)}; their correlation counts as 0, which lowers the alignment of "
        f"neurons: drop these columns if that is not what you ask."
    )
    return [Caution(DeadUnitWarning, message)] if names else []


def undefined(name: str, where: Sequence[str]) -> list[Caution]:
    """Say where a measure has no value although no layer is constant."""
    message = (
        f"{name} has no value (NaN) for {listed(where)}: most often nothing is left of a layer after centring, as where all "
        f"examples are equally far from each other, or all but one are equal; use more examples, or another measure."
    )
    return [Caution(UndefinedValueWarning, message)] if where else []


def dropped_directions(names: Sequence[str]) -> list[Caution]:
    """Say which layers lost directions to the rank rule although the dtype could tell them from rounding."""
    sentence = (
        ": directions with less than 1e-6 of the largest singular value were left out, although they are more than rounding; the "
        "value ignores them: scale the features to comparable size if they matter."
    )
    return _about(RankWarning, names, sentence)


def saturation(partly: Sequence[str], wholly: Sequence[str], n: int) -> list[Caution]:
    """Say where canonical correlations of 1 are forced by the number of examples."""
    remedy = "use more examples, fewer features, or a measure that does not saturate, such as debiased CKA."
    all_of_it = (
        f": the rank reaches n - 1 = {n - 1}, so every representation is fitted perfectly from there, and CCA-type values and "
        f"regressions from there say nothing: {remedy}"
    )
    some_of_it = (
        f": the two ranks together exceed n - 1 = {n - 1}, so some canonical correlations are 1 whatever the data: "
        f"{remedy}"
    )
    found = _about(SaturationWarning, wholly, all_of_it) + _about(SaturationWarning, partly, some_of_it)
    return [replace(caution, of_ranks=True) for caution in found]


def high_null_level(
    levels: Mapping[str, tuple[float, str]], *, grouped: bool = False, several_rows: bool = False
) -> list[Caution]:
    """Say which measures score high by chance: measure → (highest level, where)."""
    if not levels:
        return []
    highest = listed(f"{name} up to {level:.2f} ({where})" for name, (level, where) in levels.items())
    message = f"data that share only the groups would already score {highest}: read values against the _null variables."
    if several_rows and not grouped:
        message = (
            f"unrelated examples of as many rows would already score {highest}: read values against the _null variables, or use "
            f"more examples."
        )
    elif not grouped:
        message = (
            f"independent data of these shapes would already score {highest}: read values against the _null variables, use more "
            f"examples, or use cka(estimator=debiased), whose level is 0."
        )
    return [Caution(NullLevelWarning, message)]


def few_permutations(name: str, lost: int, pairs: int, n_permutations: int, alpha: float) -> list[Caution]:
    """Say where p-values are as small as they can be and still not small enough."""
    enough = int(10 * -(-pairs // (10 * alpha)) - 1)
    message = (
        f"{name}: {lost} of {pairs} pairs have the smallest p that {n_permutations} permutations can give and do not reach "
        f"{alpha:g} once adjusted for all pairs: {enough} would tell."
    )
    return [Caution(FewPermutationsWarning, message)] if lost else []


def all_calibrated_zero(n_permutations: int, alpha: float) -> Caution:
    """Say that no value can lie beyond the threshold of a calibrated score."""
    orders = "1 permutation" if n_permutations == 1 else f"{n_permutations} permutations"
    message = (
        f"with {orders} no value lies beyond the threshold at {alpha:g}, so that every calibrated score is 0: "
        f"{math.ceil(1 / alpha - 1e-9) - 1} or more would tell."
    )
    return Caution(FewPermutationsWarning, message)


def few_orders(count: int, n: int) -> Caution:
    """Say that the examples have so few orders that no p-value can be small, however many permutations are drawn."""
    message = (
        f"only {count} orders of the {n} examples can be drawn, so that no p-value can be below {1 / count:.2g} and calibrated "
        f"scores may be 0 for equal layers: use more examples, or larger groups."
    )
    return Caution(FewPermutationsWarning, message)


def few_exchanged(fixed: int, n: int) -> list[Caution]:
    """Say that few rows can change places, of those that belong to examples of several rows."""
    if 2 * fixed <= n:
        return []
    none = "there are no p-values" if fixed == n else "p-values can hardly be small"
    message = (
        f"rows are several of each example, which permutations keep together, and {fixed} of {n} rows are of examples of whose "
        f"length there is no other, so that they stay in place and {none}: cut examples to equal lengths, or compare means over "
        f"the rows of an example."
    )
    return [Caution(FewPermutationsWarning, message)]


def dominated_by_bias(name: str, where: Sequence[str]) -> Caution:
    """Say where a value is more bias than anything else."""
    message = (
        f"{name}: bias moves the value further than chance does for {listed(where)}, so that it is not to be trusted; nor is the "
        f"interval, unless it is that of a debiased estimator, since nothing says where the bias ends; use more examples, fewer "
        f"features or a measure with estimator=debiased, and a permutation test to ask whether there is any similarity."
    )
    return Caution(BiasWarning, message)


def no_interval(name: str, where: Sequence[str]) -> Caution:
    """Say where a value has no interval."""
    return Caution(
        UndefinedValueWarning,
        f"{name} has no finite value for {listed(where)} with some of the examples left out, so that its standard error and "
        f"interval are NaN: use more examples, or look with homolog.diagnose for examples that carry the value.",
    )


def no_interval_of_sketches(name: str, where: Sequence[str], method: str) -> Caution:
    """Say where a value has no interval since sketches tell too little of some of the examples."""
    fewer = "" if method == "jackknife" else ", or take method='jackknife', which leaves out fewer examples at a time"
    return Caution(
        SketchNoiseWarning,
        f"{name} has no finite value for {listed(where)} with some of the examples left out, since what two sketches of a layer "
        f"have in common is then little more than noise, so that its standard error and interval are NaN: extract with a larger "
        f"sketch= or with more examples{fewer}.",
    )


def no_value_in_models(name: str, layers: Sequence[str]) -> list[Caution]:
    """Say which layers count in no similarity of models."""
    sentence = (
        f": no value of {name} with any layer of another model, as where a layer never varies, so that similarities of models "
        f"are those of the other layers: leave such layers out."
    )
    return _about(UndefinedValueWarning, layers, sentence)


def left_out_inputs(layers: Mapping[str, Sequence[str]]) -> list[Caution]:
    """Say which layers of each model are the input itself, and count in no similarity of models."""
    names = dict.fromkeys(itertools.chain(*layers.values()))
    are, them = ("is", "it") if len(names) == 1 else ("are", "them")
    message = (
        f"{listed(names)} of {listed(layers)} {are} the input itself, which no model made, and left out of their similarities: "
        f"with_input=True counts {them}."
    )
    return [Caution(LeftOutWarning, message)] if names else []


def other_layers(name: str, models: Sequence[str]) -> list[Caution]:
    """Say of which models the layers were chosen, or renamed, after what permutations say of them was found."""
    sentence = (
        f": other layers than were compared, chosen or renamed since, so that {name} over models has no p-values, no calibrated "
        f"scores and no standard errors: compare these layers."
    )
    return _about(LeftOutWarning, models, sentence)


def other_values(name: str, pairs: Sequence[str]) -> list[Caution]:
    """Say of which pairs of models the values are not those of which permutations tell."""
    sentence = (
        f": other values than were compared, masked, changed or renamed since, so that {name} over models has no p-values, no "
        f"calibrated scores and no standard errors: take the result as homolog.compare returned it."
    )
    return _about(LeftOutWarning, pairs, sentence)


def skipped_pairs(pairs: Sequence[str], counted: int) -> list[Caution]:
    """Say which pairs of networks share no layer name, and how many are left."""
    if not pairs:
        return []
    message = (
        f"{listed(pairs)}: no layer has the same name on both sides, so that these pairs are left out and {counted} are counted: "
        f"rename corresponding layers with Activations.rename."
    )
    return [Caution(SkippedPairWarning, message)]


def untested_networks(what: str, why: str) -> Caution:
    """Say why there is no standard error over networks."""
    return Caution(
        FewModelsWarning,
        f"{what} NaN: {why}; compare more networks, each under a name of its own, in one mapping of homolog.compare.",
    )


def unknown_pairing(models: Sequence[str]) -> list[Caution]:
    """Say that rows are paired on trust, if any models are named."""
    if not models:
        return []
    message = (
        f"nothing shows that the rows of {listed(models)} are the same examples in the same order: their inputs differ, as with "
        f"different preprocessing or tokenizers, and they carry no example ids in common; pass example_ids to homolog.extract "
        f"for both, and shuffled rows are refused."
    )
    return [Caution(UnknownPairingWarning, message)]
