"""Intervals and probabilities over rows that belong together: tokens of examples, sentences of documents."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray

import homolog as hl
from homolog.inference.permutations import orders
from homolog.inference.resampling import halves_of, parts
from homolog.inference.units import exchangeable, independent_units, units_of

GIVEN = {"example_ids": "given"}
DEBIASED = "cka(estimator=debiased)"


def clustered(seed, count, unequal=True):
    """Rows of `count` units, each of which shares most of its values."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 16, size=count) if unequal else np.full(count, 8)
    unit = np.repeat(np.arange(count), lengths)
    a, b = rng.normal(size=(2, count, 4))
    x, y = (shared[unit] + 0.7 * rng.normal(size=(len(unit), 4)) for shared in (a, a + b))
    return x, y, unit


def positions_of(unit):
    return np.concatenate([np.arange(count) for count in np.bincount(unit)])


def tokens(seed=0, count=30, unequal=True):
    x, y, unit = clustered(seed, count, unequal)
    about = {"example_ids": unit, "positions": positions_of(unit), "provenance": GIVEN}
    return hl.Activations({"x": x}, **about), hl.Activations({"y": y}, **about), unit


# --- Parts


@pytest.mark.parametrize("method", ["jackknife", "subsample"])
@pytest.mark.parametrize("count", [7, 80])
def test_parts_hold_whole_units(method, count):
    unit = clustered(0, count)[2][::-1].copy()  # in any order
    unit = units_of(unit)
    rows, factor, freedom = parts(len(unit), method, 0, unit)
    for kept in rows:
        assert not set(unit[kept]) & set(np.delete(unit, kept))
    if method == "jackknife":
        assert (factor, freedom) == (min(count, 50) - 1, None)
        left_out = np.concatenate([np.setdiff1d(np.arange(len(unit)), kept) for kept in rows])
        np.testing.assert_array_equal(np.sort(left_out), np.arange(len(unit)))  # each row once
    else:
        assert freedom == count - 1
        np.testing.assert_allclose(factor, (count // 2) / (count - count // 2))
    first, second = halves_of(len(unit), 0, unit)[:2]
    assert not set(unit[first]) & set(unit[second])


def test_the_error_of_a_mean_is_that_of_clusters_of_any_sizes():
    # Of a weighted mean, leaving out clusters gives the linearised variance of a ratio, sum of (sum of deviations)².
    x, _, unit = clustered(0, 40)
    found = hl.confidence_interval(x, x, mean_of_first, groups=unit)
    sums, sizes = np.bincount(unit, weights=x[:, 0]), np.bincount(unit)
    mean = sums.sum() / sizes.sum()
    linear = np.sqrt(40 / 39 * ((sums - mean * sizes) ** 2).sum()) / sizes.sum()
    np.testing.assert_allclose(found.se, linear, rtol=0.1)
    single = hl.confidence_interval(x, x, mean_of_first).se
    assert found.se > 1.8 * single


def mean_of_first(x, y):
    return float(x[:, 0].mean())


def test_groups_of_one_row_each_change_nothing():
    x, y, unit = clustered(0, 20)
    assert hl.confidence_interval(x, y, groups=np.arange(len(unit))) == hl.confidence_interval(x, y)


# --- Doors


def test_rows_of_tokens_leave_out_whole_examples_without_being_asked():
    x, y, unit = tokens()
    result = hl.compare(x, y, interval=True)
    told = hl.confidence_interval(x["x"], y["y"], groups=unit)
    for name in ("se", "low", "high"):
        np.testing.assert_allclose(result[f"{DEBIASED}_{name}"].item(), getattr(told, name))
    plain = hl.compare(dict(x), dict(y), interval=True)
    assert result[f"{DEBIASED}_se"].item() > 1.5 * plain[f"{DEBIASED}_se"].item()
    assert int(result.attrs["n_units"]) == 30
    assert "n_units" not in plain.attrs


def test_labels_of_any_kind_are_units_in_an_interval():
    x, y, unit = clustered(1, 30)
    given = dict(measures=DEBIASED, interval=True)
    numbers = hl.compare(x, y, groups=unit, **given)
    texts = hl.compare(x, y, groups=[f"document {label}" for label in 99 - unit], **given)
    assert f"{DEBIASED}_p" not in numbers  # its formula is for independent rows, which groups say that these are not
    np.testing.assert_allclose(texts[f"{DEBIASED}_se"], numbers[f"{DEBIASED}_se"], rtol=0.5)
    by_documents = hl.compare(*tokens()[:2], groups=tokens()[2] // 3, **given)
    assert int(by_documents.attrs["n_units"]) == 10


def test_tables_say_of_which_example_their_rows_are():
    x, y, unit = clustered(2, 30)
    index = pd.MultiIndex.from_arrays([unit, positions_of(unit)], names=["example_id", "position"])
    first, second = (pd.DataFrame(values, index=index, columns=list("abcd")) for values in (x, y))
    assert hl.confidence_interval(first, second) == hl.confidence_interval(x, y, groups=unit)
    assert hl.paired_test(first, second, first + 1) == hl.paired_test(x, y, x + 1, groups=unit)


def test_a_test_of_two_differences_is_by_units_too():
    x, y, unit = clustered(3, 40)
    z = y + 0.6 * np.random.default_rng(0).normal(size=(40, 4))[unit]
    by_rows, by_units = hl.paired_test(x, y, z), hl.paired_test(x, y, z, groups=unit)
    assert by_units.se > 1.5 * by_rows.se
    assert by_units.pvalue > by_rows.pvalue


def test_measures_without_a_shortcut_and_subsamples():
    x, y, unit = clustered(4, 30)
    for method in ("jackknife", "subsample"):
        asked = dict(measures=["procrustes_distance", DEBIASED], interval=True, method=method)
        result = hl.compare(x, y, groups=unit, **asked)
        plain = hl.compare(x, y, **asked)
        for name in ("procrustes_distance", DEBIASED):
            assert result[f"{name}_se"].item() > 1.3 * plain[f"{name}_se"].item()


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        (np.arange(240) // 80, "an interval needs at least 5 independent units, got 3"),
        (np.arange(240) % 60, "groups must keep the rows of one example together"),
        (np.arange(10), "groups must be one label for each of the 240 examples"),
    ],
)
def test_units_that_cannot_be_are_refused_in_a_sentence(groups, sentence):
    x, y, _ = tokens(unequal=False)
    with pytest.raises(ValueError, match=sentence):
        hl.compare(x, y, interval=True, groups=groups)


def _with_gaps(missing):
    labels = np.arange(240) // 8
    return [missing if row % 80 == 0 else label for row, label in enumerate(labels.tolist())]


@pytest.mark.parametrize(
    "groups",
    [
        _with_gaps(None),
        _with_gaps(np.nan),
        np.array(_with_gaps(np.nan)),
        [label if label != label else f"text {label}" for label in _with_gaps(np.nan)],
        np.array(_with_gaps("NaT"), dtype="datetime64[D]"),
        np.ma.masked_equal(_with_gaps(-1), -1),
        pd.Series(_with_gaps(pd.NA)),
        pd.Series(_with_gaps(None), dtype="Int64"),
        pd.Series([None if label is None else f"text {label}" for label in _with_gaps(None)]),
        pd.Categorical(_with_gaps(None)),
    ],
    ids=["None", "NaN", "floats", "text", "dates", "masked", "NA", "Int64", "texts of pandas", "categories"],
)
def test_rows_without_a_label_are_no_unit_of_their_own(groups):
    x, y = dict(tokens(unequal=False)[0]), dict(tokens(unequal=False)[1])
    state = hl.Moments()
    asks = (
        lambda: hl.compare(x, y, interval=True, groups=groups),
        lambda: hl.compare(x, y, null="permutation", groups=groups, n_permutations=9),
        lambda: hl.confidence_interval(x["x"], y["y"], groups=groups),
        lambda: hl.paired_test(x["x"], y["y"], y["y"] + 1, groups=groups),
        lambda: hl.permutation_test(x["x"], y["y"], groups=groups, n_permutations=9),
        lambda: hl.null_level(x["x"], y["y"], groups=groups, n_permutations=9),
        lambda: state.update(x, y, groups=groups),
    )
    for ask in asks:
        with pytest.raises(ValueError, match="groups must hold a label for every row, got none in 3 of 240 rows"):
            ask()
    assert state.n == 0


def test_groups_need_something_to_be_for():
    x, y, unit = clustered(0, 20)
    with pytest.raises(ValueError, match="groups are for permutations and intervals, got neither"):
        hl.compare(x, y, groups=unit)


def test_independent_units_are_the_groups_or_else_the_examples():
    rows = np.array([0, 0, 1, 1, 2, 2])
    assert independent_units(None, None, 6) is None
    assert independent_units(None, rows, 6) is rows
    np.testing.assert_array_equal(independent_units(list("aaaabb"), rows, 6), [0, 0, 0, 0, 1, 1])


# --- Probabilities


def test_permutations_exchange_whole_examples_of_as_many_rows():
    unit = np.array([0, 0, 1, 2, 2, 3, 4, 4, 4])
    order = orders(9, 0, None, unit)
    seen = {tuple(order(k)) for k in range(40)}
    assert seen == {
        (*first, *second, *third, *fourth, 6, 7, 8)
        for first, third in ((([0, 1]), ([3, 4])), (([3, 4]), ([0, 1])))
        for second, fourth in (([2], [5]), ([5], [2]))
    }
    assert [rows.tolist() for rows in exchangeable(unit)] == [[[2], [5]], [[0, 1], [3, 4]]]


def test_formulas_for_independent_rows_are_left_out_where_rows_are_tokens():
    x, y, _ = tokens(unequal=False)
    result = hl.compare(x, y)
    assert not {f"{DEBIASED}_p", "cka_null"} & set(result)
    tested = hl.compare(x, y, null="permutation", n_permutations=99)
    assert {f"{DEBIASED}_p", "cka_null"} <= set(tested)
    rows = hl.compare(dict(x), dict(y), null="permutation", n_permutations=99)
    assert tested["cka_null"].item() > 2 * rows["cka_null"].item()  # thirty examples, not 240 rows


@pytest.mark.filterwarnings("ignore:unrelated examples of as many rows:homolog.diagnostics.NullLevelWarning")
def test_independent_tokens_are_not_called_related_because_they_are_many():
    small = {"examples": 0, "rows": 0}
    for seed in range(40):
        (x, _, _), (_, y, _) = tokens(seed, 20, unequal=False), tokens(seed + 1000, 20, unequal=False)
        asked = dict(null="permutation", n_permutations=39, measures=DEBIASED)
        small["examples"] += hl.compare(x, y, **asked)[f"{DEBIASED}_p"].item() <= 0.05
        small["rows"] += hl.compare(dict(x), dict(y), **asked)[f"{DEBIASED}_p"].item() <= 0.05
    assert small["examples"] <= 6  # of 40 at 0.05: 7 or more would be seen once in two hundred times
    assert small["rows"] >= 20


def test_examples_of_which_none_is_as_long_as_another_have_no_p_value():
    lengths = np.arange(3, 23)
    unit = np.repeat(np.arange(20), lengths)
    rng = np.random.default_rng(0)
    about = {"example_ids": unit, "positions": positions_of(unit), "provenance": GIVEN}
    x, y = (hl.Activations({"layer": rng.normal(size=(len(unit), 4))}, **about) for _ in range(2))
    with pytest.warns(
        hl.diagnostics.FewPermutationsWarning, match="so that they stay in place and there are no p-values"
    ):
        result = hl.compare(x, y, null="permutation", n_permutations=19)
    assert np.isnan(result[f"{DEBIASED}_p"]).all()
    assert hl.diagnose(x, y, n_permutations=19) is not None  # says what it can


def test_the_number_of_units_is_told_and_survives_a_file(tmp_path):
    x, y, _ = tokens()
    result = hl.compare(x, y, interval=True)
    assert f"over {x.n} rows of 30 independent examples or groups by" in hl.summary(result).sentences[0]
    result.to_netcdf(tmp_path / "a.nc")
    assert xarray.load_dataset(tmp_path / "a.nc").identical(result)


# --- Sums over batches


def test_sums_give_intervals_by_units_without_holding_a_row():
    x, y, unit = clustered(5, 200)
    order = np.random.default_rng(0).permutation(len(x))  # rows of a unit come in several batches
    state, other = hl.Moments(), hl.Moments()
    for number, rows in enumerate(np.array_split(order, 7)):
        (state if number % 2 else other).update({"x": x[rows]}, {"y": y[rows]}, groups=unit[rows])
    state.merge(other)
    found = state.finalise(["cka", DEBIASED, "svcca"])
    told = hl.compare({"x": x}, {"y": y}, measures=["cka", DEBIASED, "svcca"], interval=True, groups=unit)
    for name in ("cka", DEBIASED, "svcca"):
        np.testing.assert_allclose(found[name], told[name], rtol=1e-6)
        # The parts are others: errors of 50 parts differ by a tenth.
        np.testing.assert_allclose(found[f"{name}_se"], told[f"{name}_se"], rtol=0.5)
        assert (found[f"{name}_low"] < found[f"{name}_high"]).all()
    assert found.attrs["level"] == 0.95


def test_sums_of_groups_have_no_null_level_by_a_formula_for_independent_rows():
    x, y, unit = clustered(5, 200)
    state, plain = hl.Moments(), hl.Moments()
    state.update({"x": x}, {"y": y}, groups=unit)
    plain.update({"x": x}, {"y": y})
    assert "cka_null" in plain.finalise()
    found = state.finalise()
    assert "cka_null" not in found
    assert "by chance" not in str(hl.summary(found))
    assert f"over {len(x)} rows of 200 independent examples or groups by" in str(hl.summary(found))


def test_batches_must_agree_on_having_groups():
    x, y, unit = clustered(0, 20)
    state = hl.Moments()
    state.update(x, y, groups=unit)
    with pytest.raises(ValueError, match="every batch must have groups, or none"):
        state.update(x, y)
    few = hl.Moments()
    few.update(x, y, groups=np.zeros(len(x)))
    with pytest.raises(ValueError, match="an interval needs at least 5 independent units"):
        few.finalise()


# --- Coverage


@pytest.mark.slow
@pytest.mark.parametrize("unequal", [True, False])
def test_intervals_by_units_hold_the_value_and_those_by_rows_do_not(unequal):
    x, y, _ = clustered(99, 20000, unequal)
    truth = float(hl.cka(x, y))
    held = np.zeros(2)
    for seed in range(200):
        x, y, unit = clustered(seed, 40, unequal)
        for place, groups in enumerate((unit, None)):
            found = hl.confidence_interval(x, y, groups=groups)
            held[place] += found.low <= truth <= found.high
    assert 180 <= held[0] <= 200
    assert held[1] <= 150
