"""Whether models that are alike on one data set are alike on another."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import scipy
import xarray
from similar_models import cosines, made, of_groups, of_points

import homolog as hl

FROZEN = json.loads((Path(__file__).parent / "reference" / "model_groups.json").read_text(encoding="utf-8"))["mantel"]
RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(7, 4))
FIRST, SECOND = (cosines(POINTS + 0.4 * RNG.normal(size=POINTS.shape)) for _ in range(2))
UPPER = np.triu_indices(7, 1)
GROUPS = list("aaaabbb")


def between(found, variable="correlation"):
    return found[variable].values[0, 1]


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_correlation_of_an_independent_package(method):
    given = {name: np.array(FROZEN[name]) for name in "ab"}
    assert between(hl.consistency(given, method=method)) == pytest.approx(FROZEN[method], rel=1e-10)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_correlation_error_and_p_by_hand(method):
    given = {"one": FIRST[:5, :5], "other": SECOND[:5, :5]}
    found = hl.consistency(given, method=method)
    statistic = {"pearson": scipy.stats.pearsonr, "spearman": scipy.stats.spearmanr}[method]

    def r(models, others):
        pairs = list(itertools.combinations(range(len(models)), 2))
        return statistic(
            [FIRST[models[i], models[j]] for i, j in pairs], [SECOND[others[i], others[j]] for i, j in pairs]
        ).statistic

    every = list(range(5))
    assert between(found) == pytest.approx(r(every, every))
    left = np.array([r(kept, kept) for kept in ([i for i in every if i != out] for out in every)])
    assert between(found, "correlation_se") == pytest.approx(np.sqrt(4 / 5 * ((left - left.mean()) ** 2).sum()))
    orders = [r(every, list(order)) for order in itertools.permutations(every)]
    assert between(found, "correlation_p") == pytest.approx(np.mean(np.array(orders) >= between(found) - 1e-12))
    assert (found.attrs["n_orders"], found.attrs["exact"], found.attrs["n_pairs"]) == (120, 1, 10)


def test_a_data_set_agrees_with_itself_and_order_of_models_does_not_matter():
    names = [f"model {i}" for i in range(7)]
    order = [3, 1, 6, 0, 2, 5, 4]
    first, second = made(FIRST, names), made(SECOND, names)
    found = hl.consistency({"one": first, "other": second, "again": first.isel(model_a=order, model_b=order)})
    np.testing.assert_allclose(np.diagonal(found.correlation), 1)
    np.testing.assert_allclose(found.correlation, found.correlation.values.T)
    assert found.correlation.values[0, 2] == pytest.approx(1)
    assert found.correlation_p.values[0, 2] < 0.01
    assert np.isnan(np.diagonal(found.correlation_p)).all()
    np.testing.assert_array_equal(np.diagonal(found.correlation_se), 0)


@pytest.mark.parametrize(
    ("pairs", "kept"),
    [
        ("within", lambda i, j: GROUPS[i] == GROUPS[j]),
        ("between", lambda i, j: GROUPS[i] != GROUPS[j]),
        (("a", "b"), lambda i, j: GROUPS[i] != GROUPS[j]),
        (("a", "a"), lambda i, j: GROUPS[i] == GROUPS[j] == "a"),
    ],
)
def test_pairs_of_groups_as_in_the_paper(pairs, kept):
    found = hl.consistency({"one": FIRST, "other": SECOND}, groups=GROUPS, pairs=pairs)
    chosen = [(i, j) for i, j in zip(*UPPER, strict=True) if kept(i, j)]
    expected = np.corrcoef([[values[i, j] for i, j in chosen] for values in (FIRST, SECOND)])[0, 1]
    assert between(found) == pytest.approx(expected)
    assert found.attrs["n_pairs"] == len(chosen)
    # Models change places within their group: 4! 3! orders, or 4! where the other group does not occur.
    assert found.attrs["n_orders"] == (24 if pairs == ("a", "a") else 144)


def test_a_difference_of_groups_alone_is_no_consistency_within_them():
    values = of_groups(GROUPS)
    noise = [0.02 * cosines(RNG.normal(size=(7, 4))) for _ in range(2)]
    given = {name: values * 0.9 + each + 0.08 * np.eye(7) for name, each in zip("xy", noise, strict=True)}
    assert between(hl.consistency(given)) > 0.95
    assert between(hl.consistency(given, groups=GROUPS, pairs="between"), "correlation_p") > 0.05


@pytest.mark.parametrize(
    ("given", "options", "sentence"),
    [
        ({"one": FIRST}, {}, "at least two data sets, got 1"),
        ({"one": FIRST, "other": SECOND[:6, :6]}, {}, "got '6' on one of 'one' and 'other' alone"),
        ({"one": FIRST, "other": of_points(POINTS)}, {}, "a similarity on 'one' and a distance on 'other'"),
        ({"one": FIRST, "other": SECOND}, {"pairs": "within"}, "needs groups"),
        ({"one": FIRST, "other": SECOND}, {"pairs": "some"}, "'all', 'within', 'between' or two"),
        (
            {"one": FIRST, "other": SECOND},
            {"pairs": ("a", "c"), "groups": GROUPS},
            "got 'c', which is not among 'a', 'b'",
        ),
        ({"one": FIRST, "other": SECOND}, {"pairs": "within", "groups": list("aabcdef")}, "at least three pairs"),
        ({"one": FIRST, "other": SECOND}, {"method": "kendall"}, "'pearson' or 'spearman'"),
        ({"one": FIRST[:2, :2], "other": SECOND[:2, :2]}, {}, "at least 3 models, got 2"),
    ],
)
def test_what_cannot_be_compared_is_refused(given, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        hl.consistency(given, **options)


def test_one_result_is_no_mapping_of_data_sets():
    with pytest.raises(TypeError, match="got a Dataset"):
        hl.consistency(made(FIRST))


def test_three_models_are_few_and_that_is_said():
    with pytest.warns(hl.FewModelsWarning) as told:
        found = hl.consistency({"one": FIRST[:3, :3], "other": SECOND[:3, :3]})
    assert {"standard error" in str(each.message) for each in told} == {True, False}
    assert np.isnan(between(found, "correlation_se"))
    assert between(found, "correlation_p") >= 1 / 6


def test_equally_alike_models_have_no_correlation():
    flat = np.full((7, 7), 0.5) + 0.5 * np.eye(7)
    with pytest.warns(hl.UndefinedValueWarning, match="equally alike on 'flat'"):
        found = hl.consistency({"flat": flat, "other": SECOND})
    assert np.isnan(between(found))
    assert np.isnan(between(found, "correlation_p"))
    assert found.correlation.values[1, 1] == pytest.approx(1)


def with_repeats(values, places):
    order = [*range(len(values)), *places]
    return values[np.ix_(order, order)]


@pytest.mark.parametrize("places", [[0], [0, 0, 0], [6, 2, 6]])
@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_copies_of_a_network_change_nothing(places, method):
    alone = hl.consistency({"one": FIRST, "other": SECOND}, method=method)
    names = [*map(str, range(7)), *(f"copy {k}" for k in range(len(places)))]
    given = {
        name: made(with_repeats(values, places), names)
        for name, values in (("one", FIRST), ("other", SECOND - 5e-6 * (SECOND < 1)))
    }
    with pytest.warns(hl.FewModelsWarning, match=f"equal on every data set.*{places[0]}.* and copy"):
        found = hl.consistency(given, method=method)
    for variable in ("correlation", "correlation_se", "correlation_p"):
        np.testing.assert_allclose(found[variable], alone[variable], atol=1e-4)
    assert (found.attrs["n_models"], found.attrs["n_pairs"]) == (7, 21)
    assert "equal on every data set" in str(hl.summary(found))


def test_copies_are_told_of_distances_and_groups_and_leave_enough_models():
    apart = [of_points(POINTS + 0.1 * RNG.normal(size=POINTS.shape)) for _ in range(2)]
    alone = hl.consistency(dict(zip("ab", apart, strict=True)), groups=GROUPS, pairs="within")
    with pytest.warns(hl.FewModelsWarning, match="copies of one network are: 1 and 7;"):
        found = hl.consistency(
            {name: with_repeats(values, [1]) for name, values in zip("ab", apart, strict=True)},
            groups=[*GROUPS, "a"],
            pairs="within",
        )
    np.testing.assert_allclose(found.correlation, alone.correlation)
    three = with_repeats(FIRST[:2, :2], [0, 1])
    with pytest.raises(ValueError, match=r"got 2 models \(equal on every data set.*0 and 2; 1 and 3"):
        hl.consistency({"one": three, "other": three})


def test_models_that_are_equal_on_one_data_set_alone_are_no_copies():
    same = FIRST.copy()
    same[0], same[:, 0] = same[1], same[:, 1]
    same[0, :2] = same[1, :2] = 1
    assert hl.consistency({"one": same, "other": SECOND}).attrs["n_models"] == 7


def test_a_correlation_that_depends_on_one_model_is_told():
    rng = np.random.default_rng(0)
    noise = [0.4 + 0.03 * rng.normal(size=(8, 8)) for _ in range(2)]
    first, second = ((values + values.T) / 2 for values in noise)
    for values in (first, second):
        np.fill_diagonal(values, 1)
        values[0, 1] = values[1, 0] = 0.99  # two are nearly equal, as checkpoints of one training are
    with pytest.warns(hl.FewModelsWarning, match="depends on a single model: that of 'one' and 'other' is 0.9"):
        found = hl.consistency({"one": first, "other": second})
    assert between(found, "correlation_p") <= 0.05
    assert "without '0'" in found.attrs["warnings"] or "without '1'" in found.attrs["warnings"]


def test_consistency_comes_back_from_netcdf_as_it_was(tmp_path):
    found = hl.consistency({"one": made(FIRST), "other": made(SECOND)})
    found.to_netcdf(tmp_path / "found.nc")
    xarray.testing.assert_identical(xarray.load_dataset(tmp_path / "found.nc"), found)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::homolog.FewModelsWarning")  # that one model decides, in some of them
def test_p_of_unrelated_data_sets_is_uniform():
    found = [
        between(
            hl.consistency({s: cosines(np.random.default_rng((k, s)).normal(size=(6, 4))) for s in (0, 1)}),
            "correlation_p",
        )
        for k in range(500)
    ]
    low, high = scipy.stats.binom.ppf([0.005, 0.995], 500, 0.05)
    assert low <= np.sum(np.array(found) <= 0.05) <= high
