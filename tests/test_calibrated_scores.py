"""Calibrated scores of pairs of layers: against the definition written out, and what must hold for every measure."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import xarray
from conftest import command_line

import homolog as hl
from homolog.inference.permutations import orders

QUIET = ("NullLevelWarning", "FewPermutationsWarning", "SaturationWarning", "TiesWarning", "MissingInputsWarning")
pytestmark = [pytest.mark.filterwarnings(f"ignore::homolog.{name}") for name in QUIET]
ORDER_FREE = {"magnitude_difference", "concentricity_difference", "uniformity_difference"}


def sides(rng, n=40, p=5, count=3):
    a = {f"layer {i}": rng.normal(size=(n, p)) for i in range(count)}
    return a, {name: x + (0.7 + i) * rng.normal(size=x.shape) for i, (name, x) in enumerate(a.items())}


def by_definition(measure, x, y, level, n_permutations, groups=None):
    """The equations of the paper, one value at a time; of a distance those of its negative."""
    order = orders(len(x), 0, groups)
    values = [measure(x, y[order(k)]) for k in range(n_permutations + 1)]
    sign = 1 if measure.kind == "similarity" else -1
    best = measure.range[1] if sign == 1 else -measure.range[0]
    ranked = sorted(sign * value for value in values)
    threshold = ranked[math.ceil(level * (n_permutations + 1)) - 1]
    return sign * threshold, max((sign * values[0] - threshold) / (best - threshold), 0)


@pytest.mark.parametrize("name", ["cka", "cka(estimator=debiased)", "procrustes_distance", "pwcca", "mutual_knn(k=5)"])
@pytest.mark.parametrize(("level", "n_permutations"), [(0.95, 39), (0.8, 49), (0.9, 20)])
def test_scores_are_those_of_the_paper(rng, name, level, n_permutations):
    a, b = sides(rng)
    result = hl.compare(a, b, measures=name, calibrate=True, level=level, n_permutations=n_permutations)
    (variable,) = [each for each in result if each == str(hl.measure(name))]
    for i, x in enumerate(a.values()):
        for j, y in enumerate(b.values()):
            expected = by_definition(hl.measure(name), x, y, level, n_permutations)
            found = [float(result[f"{variable}_{kind}"][i, j]) for kind in ("threshold", "calibrated")]
            assert found == pytest.approx(expected, abs=1e-9)
    assert (result[f"{variable}_calibrated"] == 0).any()
    assert (result[f"{variable}_calibrated"] > 0).any()


def test_groups_decide_what_chance_reaches(rng):
    classes = np.repeat(np.arange(4), 15)
    x, y = (3 * rng.normal(size=(4, 6))[classes] + rng.normal(size=(60, 6)) for _ in range(2))
    plain, grouped = (
        hl.compare({"x": x}, {"y": y}, measures="cka", calibrate=True, n_permutations=39, groups=groups)
        for groups in (None, classes)
    )
    expected = by_definition(hl.measure("cka"), x, y, 0.95, 39, classes)
    assert grouped.cka_calibrated.item() == pytest.approx(expected[1]) == 0
    assert plain.cka_calibrated.item() > 0


def test_every_measure_with_a_best_value_has_scores_between_0_and_1(rng):
    x = rng.normal(size=(24, 4))
    layers = {"x": x, "near": x + 0.3 * rng.normal(size=x.shape), "other": rng.normal(size=(24, 3))}
    known = {name: hl.measure(name) for name in hl.measures()}
    chosen = [name for name, m in known.items() if np.isfinite(m.range[1 if m.kind == "similarity" else 0])]
    others = {"x": x, "near": layers["near"]}
    with pytest.warns(hl.OrderFreeWarning):
        result = hl.compare(layers, others, measures=chosen, calibrate=True, n_permutations=39)
    for name in chosen:
        score, p = result[f"{name}_calibrated"], result[f"{name}_p"]
        assert (score.attrs["kind"], score.attrs["range"], score.attrs["companion_of"]) == (
            "similarity",
            "[0.0, 1.0]",
            name,
        )
        if name in ORDER_FREE:
            assert np.isnan(score).all(), name
            continue
        assert ((score >= 0) & (score <= 1)).all(), name
        # The equivalence of the paper: a score above 0 is a p-value of at most alpha.
        assert ((score > 0) == (p <= 0.05)).all(), name
        # Ridge regression leaves a little of a layer unexplained by itself.
        left = 1e-3 if name == "linear_predictivity" else 1e-7
        assert score.sel(layer_a="x", layer_b="x").item() == pytest.approx(1, abs=left), name


def test_measures_without_a_best_value_are_refused_by_name(rng):
    a, b = sides(rng)

    def inner(x, y):
        return float(np.sum(x * y))

    endless = ("hsic", "gaussian_mutual_information", "neuron_mutual_information", "cknna")
    with pytest.raises(ValueError, match=rf"got {', '.join(endless)}, inner without one: leave calibrate out"):
        hl.compare(a, b, measures=[*endless, "cka", inner], calibrate=True)
    with pytest.raises(
        ValueError, match=r"got inner without one: .* homolog\.register\(kind='similarity', range=\(0, 1\)"
    ):
        hl.compare(a, b, measures=inner, calibrate=True)
    with pytest.raises(ValueError, match="got hsic without one"):
        hl.plan(a, b, measures="hsic", calibrate=True)
    assert "hsic_calibrated" not in hl.compare(a, b, measures="hsic", null="permutation", n_permutations=9)


def test_calibrated_scores_ask_for_permutations_themselves(rng):
    a, b = sides(rng)
    alone = hl.compare(a, b, measures="cka", calibrate=True, n_permutations=19)
    assert alone.identical(hl.compare(a, b, measures="cka", null="permutation", calibrate=True, n_permutations=19))
    assert alone.attrs["alpha"] == 0.05
    without = hl.compare(a, b, measures="cka", null="permutation", n_permutations=19)
    assert "alpha" not in without.attrs
    assert "cka_calibrated" not in without
    with pytest.raises(ValueError, match="calibrate must be True or False, got 'yes'"):
        hl.compare(a, b, calibrate="yes")


@pytest.mark.filterwarnings("default::homolog.FewPermutationsWarning")
def test_too_few_permutations_for_any_score_are_said(rng):
    a, b = sides(rng, count=1)
    with pytest.warns(hl.FewPermutationsWarning, match="with 18 permutations .* at 0.05, .* 0: 19 or more would tell"):
        few = hl.compare(a, a, measures="cka", calibrate=True, n_permutations=18)
    assert few.cka_calibrated.item() == 0
    assert hl.compare(a, a, measures="cka", calibrate=True, n_permutations=19).cka_calibrated.item() == 1
    with pytest.warns(hl.FewPermutationsWarning, match="with 1 permutation .*: 9 or more would tell"):
        hl.compare(a, b, measures="cka", calibrate=True, n_permutations=1, level=0.9)


def test_where_nothing_lies_beyond_chance_there_is_neither_a_score_nor_a_division_by_0(rng):
    n = 12
    wide = {"x": rng.normal(size=(n, 20))}  # of rank n - 1, so that CCA is 1 whatever the order
    saturated = hl.compare(wide, {"y": rng.normal(size=(n, 20))}, measures="cca", calibrate=True, n_permutations=39)
    assert (saturated.cca_p.item(), saturated.cca_calibrated.item()) == (1, 0)
    # Two values only, so that most orders give the largest there is: the threshold is the best value.
    halves = np.repeat([[0.0], [1.0]], [1, 2], axis=0)
    tied = hl.compare({"x": halves}, {"x": halves}, measures="cka", calibrate=True, n_permutations=39)
    assert tied.cka_threshold.item() == pytest.approx(1)
    assert tied.cka_calibrated.item() == 0


def test_a_layer_without_a_value_has_no_score(rng):
    a, b = sides(rng, count=2)
    a["layer 1"] = np.ones((40, 5))
    with pytest.warns(hl.ConstantLayerWarning):
        result = hl.compare(a, b, measures=("cka", "procrustes_distance"), calibrate=True, n_permutations=19)
    for name in ("cka", "procrustes_distance"):
        for kind in ("threshold", "calibrated"):
            assert np.isnan(result[f"{name}_{kind}"].values).tolist() == [[False, False], [True, True]]


def test_a_result_with_scores_is_read_as_it_was_written(rng, tmp_path):
    a, b = sides(rng)
    models = {"a": a, "b": b, "c": sides(rng)[1]}
    result = hl.compare(models, measures=("cka", "procrustes_distance"), calibrate=True, n_permutations=19)
    result.to_netcdf(tmp_path / "result.nc")
    assert xarray.load_dataset(tmp_path / "result.nc").identical(result)
    assert {"threshold", "calibrated"} <= set(hl.table(result).columns)
    np.testing.assert_array_equal(result.cka_calibrated, result.cka_calibrated.values.T)
    assert (np.diag(result.cka_calibrated) == 1).all()
    mean = hl.mean_over_models(result)
    assert not [name for name in mean if str(name).endswith(("_calibrated", "_threshold"))]


def test_a_heatmap_of_scores_crosses_out_zeros_and_marks_no_match_there(rng):
    a, b = sides(rng)
    a["noise"] = rng.normal(size=(40, 5))
    result = hl.compare(a, b, measures="cka", calibrate=True, n_permutations=99)
    axes = hl.plot.heatmap(result, "cka_calibrated")
    assert axes.images[0].get_clim() == (0, 1)
    assert "no more alike than by chance" in axes.figure.axes[1].get_ylabel()
    with pytest.raises(KeyError, match="unknown measure"):
        hl.plot.heatmap(result, "cka_threshold")


def test_the_command_line_asks_for_scores(rng, tmp_path):
    for name, layers in zip("ab", sides(rng), strict=True):
        hl.save(hl.Activations(layers), tmp_path / f"{name}.npz")
    command = ["compare", "a.npz", "b.npz", "-m", "cka", "--calibrate", "--out", "result.nc"]
    status, output, _ = command_line([*command, "--permutations", "39"], tmp_path)
    assert status == 0
    result = xarray.load_dataset(tmp_path / "result.nc")
    assert int(result.attrs["n_permutations"]) == 39
    assert re.search(rf"layer 0\t.*\t{result.cka_calibrated[0, 0].item():.4f}\t", output)
    assert command_line(command, tmp_path)[0] == 0
    assert int(xarray.load_dataset(tmp_path / "result.nc").attrs["n_permutations"]) == 999
