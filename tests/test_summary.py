"""Every rule of a summary on a result made to show it, and on one made not to."""

from __future__ import annotations

import json
import warnings
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import xarray
from made_results import DEBIASED, in_order, made, names_of
from made_results import sentence_of as sentence

import homolog as hl
from homolog.analysis import summary_many as many
from homolog.analysis import summary_rules as rules
from homolog.analysis.summary_views import number
from homolog.analysis.summary_within import BLOCK
from homolog.results import ALPHA

SURE, CHANCE = 1e-4, 0.4


def noise(seed=0, rows=4, columns=4):
    return 0.03 * np.random.default_rng(seed).normal(size=(rows, columns))


# --- The object


def test_a_summary_is_its_sentences():
    found = hl.summary(made(in_order(6, 6), SURE))
    assert isinstance(found, hl.Summary)
    assert str(found).splitlines() == list(found) == list(found.sentences)
    assert 3 <= len(found) <= 8
    assert all(each.endswith((".", ")")) for each in found)
    with pytest.raises(FrozenInstanceError):
        found.sentences = ()


def test_names_are_data():
    odd = ["<b>x</b>", "\x1b[31mred", *names_of(4)]
    found = hl.summary(made(in_order(6, 6), SURE, rows=odd, columns=odd, model_a="<i>&"))
    assert "<b>" not in found._repr_html_()
    assert "&lt;i&gt;&amp;" in found._repr_html_()
    assert all(each.isprintable() for each in found)


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.996, "0.996"), (0.99999, "0.99999"), (1, "1.00"), (-0.001, "0.00"), (-0.3, "−0.30"), (1e9, "1e+09")],
)
def test_numbers_are_not_rounded_up_to_one(value, written):
    assert number(value) == written


# --- Chance


def test_support_is_told_with_the_values_and_the_level():
    found = sentence(made(in_order(6, 6), SURE), "Every layer")
    assert "Every layer of base is more alike to its best match in tuned than chance allows" in found
    assert "best matches have values 0.90, where chance gives 0.00 on average" in found


def test_without_support_it_is_no_better_than_chance_and_nothing_else_is_read():
    found = hl.summary(made(noise(), CHANCE))
    assert found.sentences[1].startswith("No better than chance: no pair of layers is more alike than chance allows")
    assert "smallest adjusted p-value 0.4" in found.sentences[1]
    assert not any("order (" in each or "same name" in each for each in found)
    assert "homolog.diagnose(a, b)" in found.sentences[-1]


def test_layers_without_support_are_named():
    p = np.full((6, 6), SURE)
    p[3] = CHANCE
    found = sentence(made(in_order(6, 6), p), "of 6 layers of base are")
    assert found.startswith("5 of 6 layers of base are more alike to their best match")
    assert "and that is not shown for l3" in found


def test_a_best_match_counts_and_not_another_pair():
    p = np.full((4, 4), SURE) + np.eye(4)
    assert sentence(made(in_order(4, 4), p), "0 of 4 layers of base are")


def test_too_few_permutations_decide_nothing():
    result = made(in_order(4, 4), 0.05, n_permutations=np.int32(19))
    for kind in ("p", "p_fdr"):
        result[f"{DEBIASED}_{kind}"].attrs.pop("method")
    found = hl.summary(result)
    assert found.sentences[1].startswith("Nothing here decides whether layers are more alike than chance allows")
    assert "n_permutations=999" in found.sentences[-1]
    for kind in ("p", "p_fdr"):
        result[f"{DEBIASED}_{kind}"].attrs["method"] = "moments"  # whose smallest p is that of one order among all
    assert hl.summary(result).sentences[1].startswith("No better than chance")


def test_missing_p_values_support_nothing():
    p = np.full((4, 4), SURE)
    p[0] = np.nan
    assert "and nothing here decides it for l0" in sentence(made(in_order(4, 4), p), "3 of 4 layers")


def test_without_a_test_no_layers_correspond():
    found = hl.summary(made(in_order(6, 6)))
    assert not any("correspond" in each or "than chance allows" in each for each in found)
    assert "nothing in this result tests whether that is more than chance" in found.sentences[1]
    assert found.sentences[2].startswith("The best matches are in order")
    assert "null='permutation'" in found.sentences[-1]


def test_a_level_alone_supports_nothing():
    near, far = (made(in_order(6, 6), level=level, measure="cka") for level in (0.895, 0.2))
    assert hl.summary(near).sentences[1].startswith("Hardly more than chance gives on average")
    assert not sentence(near, "order (")
    assert hl.summary(far).sentences[1].endswith("nothing in this result tests whether that is more than chance.")


def test_means_of_p_values_are_none():
    models = {m: {str(i): np.random.default_rng(i).normal(size=(40, 3)) for i in range(4)} for m in "xyz"}
    mean = hl.mean_over_models(hl.compare(models, measures=DEBIASED, null="permutation", n_permutations=199))
    found = hl.summary(mean)
    assert "means over 6 pairs of models" in found.sentences[0]
    assert not any("chance allows" in each for each in found)


# --- Order


def test_layers_that_correspond_in_order():
    found = sentence(made(in_order(8, 12), SURE), "The layers correspond in order (rank")
    assert float(found.split("places ")[1].split(",")[0]) > 0.9


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ([3, 0, 5, 1, 7, 2, 6, 4], "The layers do not correspond in order (rank correlation"),
        ([7, 6, 5, 4, 3, 2, 1, 0], "The layers correspond in the opposite order"),
        ([2, 0, 1, 4, 3, 7, 5, 6], "The layers correspond in order only in part"),
    ],
)
def test_other_orders_are_told_as_what_they_are(order, told):
    assert sentence(made(in_order(8, 8)[order], SURE, rows=names_of(8, "x")), told)


def test_one_match_for_all_is_no_order():
    values = in_order(6, 6)
    values[:, 2] = 0.95 + 0.001 * np.arange(6)
    found = sentence(
        made(values, SURE), "The layers do not correspond in order: all 6 layers of base have one best match"
    )
    assert "in tuned, l2" in found
    assert not sentence(made(values, SURE), "in a row")


def test_equal_values_choose_nothing():
    told = str(hl.summary(made(np.zeros((5, 5)), measure="maximum_match")))
    assert "order (" not in told
    assert "best match in" not in told
    assert "Best matches: " not in str(hl.summary(made(np.zeros((2, 2)), measure="maximum_match")))


def test_of_equal_layers_the_mean_place_counts():
    twice = np.repeat(in_order(6, 6), 2, axis=1)  # as dropout and its input
    found = sentence(made(twice, SURE), "The layers correspond in order (rank correlation of places 1.00, and")
    assert "the best match has the same name for 0.5 of 6 layers" in found


def test_few_layers_are_listed():
    assert sentence(
        made(in_order(3, 3), SURE), "Best matches: l0 with l0 (0.90); l1 with l1 (0.90); l2 with l2 (0.90)."
    )


def test_order_counts_supported_layers_alone():
    values, p = in_order(8, 8), np.full((8, 8), SURE)
    p[:5] = CHANCE  # three are left
    assert not sentence(made(values, p), "correspond in order")
    p = np.full((8, 8), SURE)
    p[:2] = CHANCE
    judged = "The layers that can be judged (6 of 8 of base and 6 of 8 of tuned) correspond in order ("
    assert sentence(made(in_order(8, 8), p), judged)


def test_groups_of_names_are_counted_where_names_differ():
    rows = [f"stage{i // 2}.{i % 2}" for i in range(8)]
    columns = [f"stage{i // 3}.{i % 3}" for i in range(12)]
    found = sentence(made(in_order(8, 12), SURE, rows=rows, columns=columns), "in order (")
    assert "is in the group of the same name, such as stage0, for 8 of 8 layers, where guessing would give 2.0" in found
    same = sentence(made(in_order(8, 8), SURE, rows=rows, columns=rows), "in order (")
    assert "has the same name for 8 of 8 layers, where guessing would give 1.0" in same
    other = sentence(made(in_order(8, 12), SURE, rows=names_of(8, "x"), columns=names_of(12, "y")), "in order (")
    assert "name" not in other


# --- Layers of the same name


def test_what_differs_most_and_what_is_nearly_equal():
    values = in_order(6, 6)
    values[range(6), range(6)] = [0.999, 0.995, 0.99, 0.9, 0.5, 0.7]
    found = sentence(made(values, SURE, pairs="same_name"), "those that differ most")
    assert "l4 (0.50), l5 (0.70), l3 (0.90); l0, l1, l2 are nearly equal (0.98 or more)" in found
    level = sentence(made(values, SURE, level=0.6, measure="cka"), "those that differ most")
    assert "l0, l1 are nearly equal" in level  # 0.995 is 0.9875, and 0.99 is 0.975 of the way
    unknown = sentence(made(values, measure="own"), "those that differ most")
    assert "nearly equal" not in unknown


def test_layers_of_the_same_name_that_are_equally_alike():
    assert sentence(made(in_order(6, 6), SURE), "The 6 layers of the same name are about equally alike (0.90).")


def test_values_that_follow_their_levels_are_not_ranked():
    level = np.linspace(0.1, 0.8, 6)[:, None] * np.ones((1, 6))
    values = in_order(6, 6)
    values[range(6), range(6)] -= np.linspace(0, 0.05, 6)
    assert not sentence(made(values, SURE, level=level, measure="cca"), "same name,")
    assert sentence(made(values, SURE, level=0.1, measure="cca"), "same name,")


def test_distances_are_read_the_other_way():
    result = made(1 - in_order(6, 6), SURE, measure="procrustes_distance", kind="distance", range="[0.0, 1.4142]")
    assert sentence(result, "The layers correspond in order")
    assert "of which smaller values are more alike" in hl.summary(result).sentences[0]
    unbounded = made(in_order(6, 6) * np.arange(1, 7), SURE, measure="hsic", range="[0.0, null]")
    assert not sentence(unbounded, "same name,")


def test_pairs_of_the_same_name_have_no_best_match():
    values = np.where(np.eye(6, dtype=bool), np.linspace(0.5, 1, 6), np.nan)
    found = hl.summary(made(values, SURE))
    assert "more alike to the layer of the same name than chance allows" in found.sentences[1]
    assert not any("best match" in each or "in order" in each for each in found)


# --- Plateaus


def with_plateau(value):
    values = in_order(9, 6) - 0.2
    values[4:] = 0.3
    values[4:, 4] = value
    return values


def test_a_plateau_is_called_alike_where_the_values_force_it():
    found = sentence(made(with_plateau([0.98, 0.97, 0.99, 0.98, 0.96]), SURE), "The last 5 layers of base (l4 to l8)")
    least = 0.96 * 0.97 - np.sqrt((1 - 0.96**2) * (1 - 0.97**2))
    assert "have the same best match in tuned, l4, and are alike among themselves, by" in found
    assert 0.85 < float(found.rstrip(".").split()[-3]) <= least


def test_a_plateau_of_weak_matches_is_not():
    flat = sentence(made(with_plateau(0.6), SURE), "The last 5 layers")
    assert "differ by at most 0.00, so that it hardly tells them apart" in flat
    uneven = sentence(made(with_plateau([0.5, 0.8, 0.6, 0.9, 0.7]), SURE), "The last 5 layers")
    assert "which does not say whether they are alike among themselves" in uneven
    other = sentence(made(with_plateau(0.99), SURE, measure="own"), "The last 5 layers")
    assert "alike among themselves, by" not in other  # no cosine, so that nothing follows


def test_short_runs_are_no_plateau():
    assert not sentence(made(in_order(8, 12), SURE), "have the same best match")


def test_all_layers_are_neither_the_first_nor_the_last():
    values = np.array([[0.9, 0.1, 0.1], [0.8, 0.2, 0.1], [0.7, 0.2, 0.2]])
    assert sentence(made(values, SURE), "All 3 layers of base (l0 to l2) have the same best match in tuned, l0")


def test_missing_layers_are_not_the_last():
    values = with_plateau(0.6)
    values[8] = np.nan
    result = made(values, SURE)
    assert sentence(result, "4 layers in a row of base (l4 to l7)")
    assert "l8 of base has no value" in sentence(result, "Caution: ")


# --- What not to conclude


def test_biased_measures_are_set_beside_the_debiased_one():
    rng = np.random.default_rng(0)
    a, b = ({f"l{i}": rng.normal(size=(60, 200)) for i in range(4)} for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        result = hl.compare(a, b, measures=(DEBIASED, "cka"), null="permutation", n_permutations=199)
    for measure in (DEBIASED, "cka"):
        found = hl.summary(result, measure)
        assert found.sentences[1].startswith("No better than chance")
        assert sentence(result, "Chance alone gives up to 0.7", measure=measure)
    assert "by cka(estimator=debiased), about 0 by chance, the same pairs have values between" in str(
        hl.summary(result, "cka")
    )
    assert "with only 60 examples values may be imprecise" in sentence(result, "Caution: ")


def test_chance_within_groups_is_not_called_independence(rng):
    groups = np.repeat(np.arange(5), 20)
    shared = 2 * rng.normal(size=(5, 6))[groups]
    a, b = ({f"l{i}": shared @ rng.normal(size=(6, 8)) + rng.normal(size=(100, 8)) for i in range(4)} for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        result = hl.compare(a, b, null="permutation", groups=groups, n_permutations=199)
    told = str(hl.summary(result))
    assert "chance keeps the groups here" in told
    assert "is about 0 by chance" not in told
    assert "where chance gives between 0." in told


def test_warnings_are_told_by_seriousness_and_the_rest_counted():
    warned = ("RankWarning", "TiesWarning", "ConstantLayerWarning", "UnknownPairingWarning", "OwnWarning")
    found = sentence(made(in_order(4, 4), SURE, warned=warned), "Caution: ")
    assert found.startswith(
        "Caution: nothing shows that the rows of both sides are the same examples; some layers do not vary"
    )
    assert found.endswith("2 more in result.attrs['warnings'].")
    assert not sentence(made(in_order(4, 4)), "Caution: ")


def test_small_p_values_are_not_said_to_mean_more_than_they_do():
    told = sentence(made(in_order(4, 4), SURE), "Caution: ")
    assert told == "Caution: p-values say that layers are not independent, not that they do the same."
    assert not sentence(made(in_order(4, 4), CHANCE), "Caution: ")


def test_every_warning_has_a_consequence():
    from homolog.analysis.summary_cautions import CONSEQUENCES, NO_CONSEQUENCE

    known = {name for name in hl.__all__ if name.endswith("Warning")} - {"HomologWarning", "GradientWarning"}
    assert known == set(CONSEQUENCES) | NO_CONSEQUENCE


def test_the_page_has_the_thresholds_of_the_rules():
    page = (Path(__file__).parent.parent / "docs" / "summary.md").read_text(encoding="utf-8")
    numbers = {"0.01": ALPHA, "0.9": rules.IN_ORDER, "0.6": rules.PARTLY_IN_ORDER, "0.98": rules.NEARLY_EQUAL}
    numbers |= {"0.8": rules.ALIKE, "0.95": BLOCK, "0.1": rules.NULL_LEVEL, "0.05": many.ODD}
    assert all(written == f"{value:g}" and f" {written}" in page for written, value in numbers.items())
    words = {"three": rules.PLATEAU, "four": rules.FEWEST_IN_ORDER, "four models": many.FEWEST_FOR_ODD}
    assert list(words.values()) == [3, 4, 4]
    assert rules.PLATEAU_SHARE == 0.25


# --- Odd results


def test_a_single_pair():
    found = hl.summary(made([[0.4]], SURE))
    assert found.sentences[1].startswith("l0 of base and l0 of tuned are more alike than chance allows: 0.40, where")
    assert "interval=True" in found.sentences[-1]
    assert (
        hl.summary(made([[0.01]], CHANCE))
        .sentences[1]
        .startswith("No better than chance: l0 of base and l0 of tuned are no")
    )
    assert "nothing here tests" in hl.summary(made([[0.4]])).sentences[1]


def test_no_value_at_all():
    found = hl.summary(made(np.full((3, 3), np.nan), np.nan))
    assert found.sentences[1] == "No pair of layers has a value of cka(estimator=debiased)."
    assert found.sentences[-1] == "Next, to see why there are no values: homolog.diagnose(a, b)"


def test_a_result_that_was_joined_or_lacks_a_side_is_refused():
    result = made(in_order(4, 4))
    with pytest.raises(
        ValueError,
        match=r"needs one result of homolog.compare, got several over epoch: select one",
    ):
        hl.summary(xarray.concat([result, result], "epoch"))
    with pytest.raises(ValueError, match="must keep its dimensions"):
        hl.summary(result.isel(layer_a=0))
    with pytest.raises(KeyError, match="unknown measure 'cca'"):
        hl.summary(result, "cca")


def test_odd_results_have_a_summary_too():
    for side in ("layer_a", "layer_b"):
        with pytest.raises(ValueError, match=f"must keep at least one entry along {side}"):
            hl.summary(made(in_order(4, 4)).isel({side: []}))
    assert "values ∞" in str(hl.summary(made(np.full((2, 2), np.inf), measure="own", range="[0.0, null]")))
    assert "compared with itself" in hl.summary(made([[1.0]], same_model=np.int32(1), model_b="base")).sentences[0]
    with pytest.raises(ValueError, match="got a result without any"):
        hl.summary(made(in_order(4, 4)).drop_vars(DEBIASED))


def test_a_function_of_ones_own_is_not_named_in_a_command():
    assert "measures=..., null=" in hl.summary(made(in_order(4, 4), measure="own")).sentences[-1]
    assert "measures='cca', null=" in hl.summary(made(in_order(4, 4), measure="cca")).sentences[-1]


def test_parts_and_files_are_read_as_well(tmp_path):
    result = made(in_order(8, 8), SURE)
    result.to_netcdf(tmp_path / "r.nc")
    assert list(hl.summary(xarray.load_dataset(tmp_path / "r.nc"))) == list(hl.summary(result))
    assert (
        hl.summary(result.isel(layer_a=[0, 3])).sentences[0].startswith("2 layers of base were compared with 8 layers")
    )


def test_a_function_of_ones_own_is_said_to_be_taken_as_a_similarity(rng):
    def gap(x, y):
        return float(np.abs(x - y).mean())

    a = {f"l{i}": rng.normal(size=(50, 3)) for i in range(2)}
    found = str(hl.summary(hl.compare(a, {k: v + 0.1 for k, v in a.items()}, measures=gap)))
    assert "a function of your own, of which larger values are taken for more alike" in found
    with pytest.raises(ValueError, match="register it with kind='distance'"):
        hl.check(a, a, at_most={gap: 0.5})


def test_a_model_with_itself_layer_by_layer(rng):
    a = {f"l{i}": rng.normal(size=(150, 3)) for i in range(2)}
    found = hl.compare(a, a, pairs="same_name", measures=DEBIASED)
    assert "Every layer" in str(hl.summary(found))
    assert all(abs(value - 1) < 1e-6 for value in hl.log_dict(found).values())


def test_warnings_of_another_measure_are_nothing_against_this_one(rng):
    x = rng.normal(size=(40, 300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        result = hl.compare({"x": x}, {"x": x + 3 * rng.normal(size=x.shape)}, interval=True)
    assert any(category == "BiasWarning" for category, _ in json.loads(result.attrs["warnings"]))
    assert "bias moves" not in str(hl.summary(result))
    assert "bias moves" in str(hl.summary(result, "cka"))
