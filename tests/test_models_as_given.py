"""Similarities and labels of models in the forms that people have them in: any order, any index, any scale."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray
from similar_models import cosines, made, of_groups, of_points

import homolog as hl
from homolog.analysis.model_similarity_lines import pair_table

RNG = np.random.default_rng(7)
NAMES = [f"m{i}" for i in range(8)]
POINTS = RNG.normal(size=(8, 4)) + 3 * np.repeat(np.eye(4)[:2], 4, axis=0)
GIVEN = made(cosines(POINTS), NAMES, se=0.01, p=0.5, p_fdr=0.5)
HALF = [0, 0, 0, 0, 1, 1, 1, 1]
OTHER = [0, 1, 0, 1, 0, 1, 1, 0]
BY_NAME = dict(zip(NAMES, OTHER, strict=True))


# --- Orders


REARRANGED = [
    GIVEN.sortby("model_a", ascending=False),
    GIVEN.isel(model_b=[3, 1, 0, 2, 7, 6, 5, 4]),
    GIVEN.sel(model_a=NAMES[::-1]).transpose("model_b", "model_a"),
]


def looked_up(table):
    measure = table.columns[2]
    return {frozenset(pair): value for *pair, value in table[["model", "other model", measure]].itertuples(index=False)}


@pytest.mark.parametrize("result", REARRANGED)
def test_models_in_two_orders_are_told_as_in_one(result):
    assert looked_up(pair_table(result)) == pytest.approx(looked_up(pair_table(GIVEN)))
    told, expected = (next(line for line in hl.summary(each) if "Most alike" in line) for each in (result, GIVEN))
    for end in (0, -1):  # the names of a pair stand in the order of the rows
        pair, also = (set(text.split("least alike")[end].split()) for text in (told, expected))
        assert pair == also


def test_a_part_of_the_models_is_told_where_it_is_the_same_on_both_sides():
    part = GIVEN.sel(model_a=["m0", "m1", "m5"], model_b=["m5", "m1", "m0"])
    found = looked_up(pair_table(part))
    for a, b in itertools.combinations(["m0", "m1", "m5"], 2):
        assert found[frozenset([a, b])] == float(GIVEN[pair_table(GIVEN).columns[2]].sel(model_a=a, model_b=b))
    twice = part.isel(model_a=[0, 0, 1, 2], model_b=[2, 1, 0, 0])  # the same model is taken once
    assert looked_up(pair_table(twice)) == found
    for wrong, sentence in [
        (GIVEN.sel(model_a=["m0", "m1", "m2"]), "same models in rows and columns, got 'm3', .* on one side alone"),
        (GIVEN.isel(model_a=0), r"must keep its dimensions model_a and model_b, got .* select with lists"),
        (
            GIVEN.assign_coords(model_a=["m0", "m0", *GIVEN.model_a.values[2:]]),
            "must hold each model_a once, got different ones called 'm0'",
        ),
        (GIVEN.isel(model_a=[0, 1, 2], model_b=[0, 1, 1]), "got 'm2' on one side alone"),
    ]:
        for reader in (hl.summary, pair_table):
            with pytest.raises(ValueError, match=sentence):
                reader(wrong)


# --- Labels


def of_index(index, labels=OTHER):
    return pd.Series(labels, index=index)


SHUFFLED = [3, 1, 0, 2, 7, 6, 5, 4]
NAMED = of_index(NAMES).iloc[SHUFFLED]


@pytest.mark.parametrize(
    "groups",
    [
        BY_NAME,
        NAMED,
        NAMED.to_frame("family"),
        xarray.DataArray(NAMED.to_numpy(), dims="model", coords={"model": list(NAMED.index)}),
        xarray.DataArray(NAMED.to_numpy(), dims="at", coords={"at": range(8), "model": ("at", list(NAMED.index))}),
        pd.Series(OTHER),
        pd.DataFrame({"family": OTHER}),
        xarray.DataArray(OTHER, dims="model"),
        pl.Series(OTHER),
        pl.DataFrame({"family": OTHER}),
        pd.Index(OTHER),
        BY_NAME.values(),
        np.array(OTHER)[:, None],
    ],
)
def test_labels_are_matched_by_the_names_of_the_models(groups):
    expected = hl.permanova(GIVEN, OTHER)
    assert hl.permanova(GIVEN, groups) == expected
    assert hl.permanova(GIVEN, HALF) != expected  # the order tells


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        (
            of_index([f"n{i}" for i in range(8)]),
            "must name the models in the index of a Series, got 'n0', .*: give a mapping",
        ),
        (of_index([9, 3, 5, 4, 2, 0, 1, 7]), "must name the models in the index of a Series"),
        (xarray.DataArray(OTHER, dims="x", coords={"x": range(8)}), "must name the models in the index of a DataArray"),
        (of_index(NAMES)[:5], "got none for 'm5', 'm6'"),
        (of_index(["m0", *NAMES[:7]]), "got 'm0' more than once"),
        (np.zeros((8, 2)), r"an array of shape \(8, 2\)"),
        ([pd.NA, *OTHER[1:]], "got none for 'm0'"),
        ([pd.NaT, *OTHER[1:]], "got none for 'm0'"),
        (np.ma.masked_equal([9, *OTHER[1:]], 9), "got none for 'm0'"),
        ([1, "1", *OTHER[2:]], "must differ as text, got two that are written '1'"),
    ],
)
@pytest.mark.parametrize("name", ["groups", "within"])
def test_labels_of_other_things_are_refused(groups, sentence, name):
    others = {"groups": HALF, "within": OTHER} | {name: groups}
    with pytest.raises(ValueError, match=sentence):
        hl.permanova(GIVEN, **others)


def test_tables_and_sets_are_no_labels():
    for groups, sentence in [
        (pd.DataFrame({"a": OTHER, "b": OTHER}), "a DataFrame of several columns: give one of them"),
        (xarray.Dataset({"a": ("model", OTHER)}), "a Dataset of several columns"),
        (set(NAMES), "a mapping of models to labels, got a set"),
    ]:
        with pytest.raises(TypeError, match=sentence):
            hl.permanova(GIVEN, groups)


def test_equal_labels_are_one_group_and_labels_may_be_tuples():
    found = hl.permanova(GIVEN, [1, 1.0, True, 1, (2, "b"), (2, "b"), (2, "b"), (2, "b")])
    assert found.sizes == {"(2, 'b')": 4, "1": 4}


def test_consistency_and_pictures_match_labels_too():
    data = {"one": GIVEN, "two": made(cosines(POINTS + RNG.normal(size=POINTS.shape)), NAMES)}
    found = hl.consistency(data, groups=NAMED, pairs="within")
    assert found.identical(hl.consistency(data, groups=OTHER, pairs="within"))
    drawn = [hl.plot.embedding(GIVEN, groups=groups) for groups in (NAMED, [str(label) for label in OTHER])]
    for one, other in zip(*(axes.lines for axes in drawn), strict=True):
        np.testing.assert_array_equal(one.get_xydata(), other.get_xydata())


# --- Scales


@pytest.mark.parametrize("scale", [1e-200, 1e-6, 1e200])
def test_distances_of_any_scale_say_the_same(scale):
    distances = of_points(POINTS)
    test, expected = hl.permanova(distances * scale, HALF), hl.permanova(distances, HALF)
    assert (test.pvalue, test.statistic) == (expected.pvalue, pytest.approx(expected.statistic))
    for method in ("classical", "nonmetric"):
        one, other = hl.embed(distances * scale, method=method), hl.embed(distances, method=method)
        np.testing.assert_allclose(one.position / scale, other.position, rtol=1e-6, atol=1e-6)
        assert one.attrs["stress"] == pytest.approx(other.attrs["stress"], abs=1e-6)


def altered(at, value):
    found = of_points(POINTS)
    found[at] = value
    return found


def test_what_is_wrong_with_large_distances_is_wrong_with_small_ones():
    typical = float(of_points(POINTS).max())
    for scale in (1.0, 1e-6):
        with pytest.raises(ValueError, match="below 0"):
            hl.embed(altered(([0, 1], [1, 0]), -typical) * scale)
        with pytest.raises(ValueError, match="diagonal must be each model with itself"):
            hl.embed(altered((2, 2), typical / 2) * scale)
        with pytest.warns(hl.AsymmetryWarning, match="differ by up to"):
            hl.embed(altered((0, 1), typical / 2) * scale)
    for scale in (1.0, 1e6):
        hl.embed(altered((0, 1), of_points(POINTS)[0, 1] + 1e-8) * scale)  # rounding


def test_equal_models_of_a_known_scale_are_equal_whatever_rounding_leaves():
    given = made(1e-8 * RNG.random((4, 4)), measure="angular", kind="distance", range="[0.0, 1.6]")
    with pytest.raises(ValueError, match="all equal"):
        hl.permanova(given, [0, 0, 1, 1])
    with pytest.raises(ValueError, match="all equal"):
        hl.permanova(1 - 1e-11 * (1 - of_groups("aabb")), [0, 0, 1, 1])


def test_tensors_of_small_floats_are_taken_and_masks_are_kept():
    torch = pytest.importorskip("torch")
    values = torch.tensor([[1, 0.5, 0.25], [0.5, 1, 0.75], [0.25, 0.75, 1]])
    expected = hl.embed(values.numpy()).position.values
    np.testing.assert_array_equal(hl.embed(values.bfloat16()).position.values, expected)
    hidden = np.ma.masked_array(values.numpy(), mask=[[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    with pytest.raises(ValueError, match="must be finite for every pair of models, got none for '0' and '1'"):
        hl.embed(hidden)
