"""Maps and trees of models, and what may be given to make them."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import scipy
import xarray
from similar_models import CKA, cosines, made, of_groups, of_points
from sklearn.isotonic import IsotonicRegression

import homolog as hl
from homolog.analysis.model_pairs import model_pairs

RNG = np.random.default_rng(0)
SIMILAR = cosines(RNG.normal(size=(6, 4)))
NAMES = list("abcdef")


def distances_on(found):
    return of_points(found.position.values)


# --- What may be given


def test_similarities_become_the_distances_of_unit_vectors():
    points = RNG.normal(size=(5, 3))
    unit = points / np.linalg.norm(points, axis=1)[:, None]
    np.testing.assert_allclose(model_pairs(cosines(points)).distances, of_points(unit), atol=1e-7)


@pytest.mark.parametrize(
    "given",
    [
        made(SIMILAR, NAMES),
        made(SIMILAR, NAMES)[CKA],
        xarray.DataArray(SIMILAR, {"x": NAMES, "y": NAMES}, ("x", "y")),
        pd.DataFrame(SIMILAR, NAMES, NAMES),
        pd.DataFrame(SIMILAR, NAMES, NAMES)[NAMES[::-1]],
        made(SIMILAR, NAMES).isel(model_b=[3, 1, 0, 2, 5, 4]).transpose("model_b", "model_a"),
    ],
)
def test_whatever_holds_similarities_gives_one_map(given):
    expected = hl.embed(SIMILAR, names=NAMES)
    found = hl.embed(given)
    assert list(found.model.values) == NAMES
    np.testing.assert_allclose(found.position, expected.position, atol=1e-12)


def test_a_plain_array_has_numbers_for_names_unless_they_are_given():
    assert list(hl.embed(SIMILAR.tolist()).model.values) == list("012345")
    assert list(hl.embed(SIMILAR, names=NAMES).model.values) == NAMES
    with pytest.raises(ValueError, match="one for each of the 6 models, got 2"):
        hl.embed(SIMILAR, names=["a", "b"])
    with pytest.raises(ValueError, match="rename their labels"):
        hl.embed(made(SIMILAR), names=NAMES)


def test_distances_are_told_by_their_diagonal_and_taken_as_they_are():
    points = RNG.normal(size=(5, 2))
    found = hl.embed(of_points(points))
    np.testing.assert_allclose(distances_on(found), of_points(points), atol=1e-12)
    assert found.attrs["distance"] == "as given"


def test_a_distance_of_a_dataset_is_not_turned_around():
    points = RNG.normal(size=(4, 2))
    given = made(of_points(points), kind="distance", range="[0.0, null]")
    np.testing.assert_allclose(distances_on(hl.embed(given)), of_points(points), atol=1e-12)


def test_calibrated_values_are_taken_where_they_are_asked_for():
    given = made(of_groups("aabb"), calibrated=of_groups("abab", 0.9, 0.0))
    found = hl.embed(given, calibrated=True)
    assert found.attrs["measure"] == f"{CKA}_calibrated"
    near = distances_on(found)
    assert near[0, 2] < 0.5 < 1.3 < near[0, 1]
    with pytest.raises(KeyError, match="calibrate=True"):
        hl.embed(made(SIMILAR), calibrated=True)


def test_values_of_a_measure_that_are_missing_on_the_diagonal_are_those_of_equal_models():
    values = SIMILAR.copy()
    np.fill_diagonal(values, np.nan)
    np.testing.assert_array_equal(model_pairs(made(values)).values, model_pairs(made(SIMILAR)).values)
    with pytest.raises(ValueError, match="diagonal must be each model with itself"):
        hl.embed(values)


def test_two_directions_that_differ_are_averaged_and_that_is_said():
    values = SIMILAR.copy()
    values[0, 1] += 0.1
    with pytest.warns(hl.AsymmetryWarning, match="up to 0.1, as for 'a' and 'b'"):
        found = hl.embed(values, 6, names=NAMES)
    assert json.loads(found.attrs["warnings"])[0][0] == "AsymmetryWarning"
    values[0, 1] -= 0.05
    values[1, 0] += 0.05
    np.testing.assert_allclose(distances_on(found), distances_on(hl.embed(values, 6)), atol=1e-12)


def test_rounding_is_no_asymmetry_and_nothing_beyond_the_best():
    values = np.array([[1 + 2e-7, 1 + 1e-6], [1 + 1e-6 + 1e-8, 1 - 1e-7]])
    assert hl.embed(values).attrs["stress"] == 0
    np.testing.assert_array_equal(model_pairs(values).distances, 0)


def refused(change, at):
    values = SIMILAR.copy()
    values[at] = change
    return values


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (refused(np.nan, (1, 2)), "got none for 'b' and 'c'"),
        (refused(np.inf, (2, 1)), "got none for 'b' and 'c'"),
        (np.ma.masked_equal(refused(9.0, (1, 2)), 9.0), "got none for 'b' and 'c'"),
        (refused(1.5, ([0, 3], [3, 0])), "above 1, got 1.5 for 'a' and 'd'"),
        (np.triu(SIMILAR), "mirror the other side"),
        (refused(0.9, (4, 4)), "diagonal must be each model with itself"),
        (-np.ones((6, 6)) + np.eye(6), "below 0, got -1"),
        (SIMILAR[:4], "square matrix"),
    ],
)
def test_what_is_no_similarity_is_refused_in_one_sentence(given, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        hl.embed(given, names=NAMES[: len(given)])
    assert "\n" not in str(error.value)


def test_text_and_complex_numbers_are_no_similarities():
    for given in ([["a", "b"], ["c", "d"]], np.eye(2) * 1j, None):
        with pytest.raises(TypeError, match="real numbers"):
            hl.embed(given)


def test_results_of_another_kind_say_what_to_do():
    layers = {name: {"layer": RNG.normal(size=(30, 3))} for name in "ab"}
    with pytest.raises(ValueError, match=r"reduce it with homolog.model_similarity\(result\)"):
        hl.embed(hl.compare(layers))
    with pytest.raises(ValueError, match="same models on both sides"):
        hl.embed(made(SIMILAR).isel(model_a=[0, 1]))
    with pytest.raises(ValueError, match="got 'a' twice"):
        hl.embed(SIMILAR[:2, :2], names=["a", "a"])
    with pytest.raises(ValueError, match="at least 2 models, got 1"):
        hl.embed(made(SIMILAR).isel(model_a=[0], model_b=[0]))
    with pytest.raises(ValueError, match="measure= and calibrated="):
        hl.embed(SIMILAR, measure="cka")


@pytest.mark.parametrize("limits", ["[0.0, null]", "[0.0, 1.5]"])
def test_a_similarity_without_an_end_of_one_is_refused(limits):
    given = made(SIMILAR, measure="hsic", range=limits)
    for similarities in (given, given["hsic"]):
        with pytest.raises(ValueError, match=r"needs an upper end of 1 .*hsic"):
            hl.embed(similarities)


# --- Maps


def test_the_classical_map_is_that_of_principal_components():
    points = RNG.normal(size=(9, 3)) * [3, 2, 1]
    found = hl.embed(of_points(points), 3)
    centred = points - points.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(found.position), np.abs(left * sizes), atol=1e-10)
    np.testing.assert_allclose(found.share, sizes**2 / np.sum(sizes**2))
    assert found.attrs["stress"] < 1e-7
    assert found.attrs["negative_share"] < 1e-12
    # The point farthest out is on the positive side.
    assert (found.position.max(axis=0).values == np.abs(found.position).max(axis=0)).all()


def test_stress_is_kruskals():
    values = of_points(RNG.normal(size=(7, 4)))
    with pytest.warns(hl.DistortedMapWarning, match="misleads: 1 dimension cannot"):
        found = hl.embed(values, 1)
    upper = np.triu_indices(7, 1)
    drawn = distances_on(found)[upper]
    fitted = IsotonicRegression().fit_transform(values[upper], drawn)
    assert found.attrs["stress"] == pytest.approx(np.sqrt(((fitted - drawn) ** 2).sum() / (drawn**2).sum()))
    assert json.loads(found.attrs["warnings"])[0][0] == "DistortedMapWarning"


def test_distances_that_no_points_have_are_told():
    values = np.array([[0, 1, 1, 5], [1, 0, 1, 1], [1, 1, 0, 1], [5, 1, 1, 0.0]])
    found = hl.embed(values)
    eigenvalues = np.linalg.eigvalsh(-0.5 * (np.eye(4) - 0.25) @ values**2 @ (np.eye(4) - 0.25))
    expected = -eigenvalues[eigenvalues < 0].sum() / np.abs(eigenvalues).sum()
    assert found.attrs["negative_share"] == pytest.approx(expected)


def test_the_non_metric_map_shows_the_order_alone():
    points = RNG.normal(size=(12, 2))
    bent = of_points(points) ** 3
    found = hl.embed(bent, method="nonmetric")
    assert found.attrs["stress"] < 0.02
    upper = np.triu_indices(12, 1)
    assert scipy.stats.spearmanr(distances_on(found)[upper], bent[upper]).statistic > 0.99
    assert (distances_on(found) ** 2).sum() == pytest.approx((bent**2).sum())
    again = hl.embed(bent, method="nonmetric")
    xarray.testing.assert_identical(found, again)
    assert "share" not in found


def test_tight_groups_are_no_distortion_and_models_that_are_all_equally_far_are():
    groups = of_groups("aaabbbccc", within=0.98)
    assert hl.embed(groups).attrs["stress"] < 0.01
    with pytest.warns(hl.DistortedMapWarning):
        hl.embed(of_groups(range(8)))


@pytest.mark.parametrize("method", ["classical", "nonmetric"])
def test_equal_models_lie_on_one_point(method):
    points = RNG.normal(size=(6, 2))
    points[3] = points[0]
    found = hl.embed(of_points(points), method=method)
    assert distances_on(found)[0, 3] < 0.02 * distances_on(found).max()
    alike = hl.embed(np.ones((4, 4)), method=method)
    np.testing.assert_array_equal(alike.position, 0)
    assert alike.attrs["stress"] == 0


@pytest.mark.parametrize("method", ["classical", "nonmetric"])
@pytest.mark.parametrize("count", [2, 3])
def test_two_or_three_models_are_shown_exactly(method, count):
    values = np.full((count, count), 0.5) + 0.5 * np.eye(count)
    found = hl.embed(values, 4, method=method)
    assert found.position.shape == (count, 4)
    assert found.attrs["stress"] < 1e-6
    np.testing.assert_allclose(distances_on(found), np.sqrt(2 * (1 - values)), atol=1e-6)


def test_what_may_be_asked_of_a_map():
    for wrong in (0, 1.5, True, "2"):
        with pytest.raises(ValueError, match="positive whole number"):
            hl.embed(SIMILAR, wrong)
    with pytest.raises(ValueError, match="'classical' or 'nonmetric'"):
        hl.embed(SIMILAR, method="tsne")


# --- Trees


def test_clusters_are_those_of_scipy_and_the_leaves_lie_beside_their_like():
    labels = [0, 1, 2, 0, 1, 2, 0]
    found = hl.cluster(made(of_groups(labels)), n_clusters=3)
    assert found.cluster.values.tolist() == [1, 2, 3, 1, 2, 3, 1]
    ordered = [labels[int(str(name).split()[1])] for name in found.leaf_order.values]
    assert sum(a != b for a, b in itertools.pairwise(ordered)) == 2
    upper = np.triu_indices(7, 1)
    condensed = np.sqrt(2 * (1 - of_groups(labels)))[upper]
    expected = scipy.cluster.hierarchy.linkage(condensed, "average")
    np.testing.assert_allclose(found.linkage.sel(part="height"), expected[:, 2])
    assert found.attrs["cophenetic_correlation"] == pytest.approx(1)


def test_a_tree_is_cut_at_a_distance_or_into_a_number():
    values = of_groups([0, 0, 1, 1])
    assert hl.cluster(values, distance=1.0).cluster.values.tolist() == [1, 1, 2, 2]
    assert hl.cluster(values, distance=0).cluster.values.tolist() == [1, 2, 3, 4]
    assert "cluster" not in hl.cluster(values)
    with pytest.raises(ValueError, match="got both"):
        hl.cluster(values, n_clusters=2, distance=1)
    with pytest.raises(ValueError, match="several merges are at one distance"):
        hl.cluster(of_groups(range(4)), n_clusters=2)
    with pytest.raises(ValueError, match="from 1 to 4"):
        hl.cluster(values, n_clusters=5)
    with pytest.raises(ValueError, match="at least 0"):
        hl.cluster(values, distance=float("nan"))


def test_a_linkage_must_suit_the_distances():
    with pytest.raises(ValueError, match="one of average"):
        hl.cluster(SIMILAR, method="centroid")
    hl.cluster(SIMILAR, method="ward")
    values = np.array([[0, 1, 1, 5], [1, 0, 1, 1], [1, 1, 0, 1], [5, 1, 1, 0.0]])
    with pytest.raises(ValueError, match="no points have"):
        hl.cluster(values, method="ward")


def test_maps_and_trees_come_back_from_netcdf_as_they_were(tmp_path):
    given = made(SIMILAR, NAMES)
    for found in (hl.embed(given), hl.embed(given, method="nonmetric"), hl.cluster(given, n_clusters=2)):
        found.to_netcdf(tmp_path / "found.nc")
        xarray.testing.assert_identical(xarray.load_dataset(tmp_path / "found.nc"), found)
