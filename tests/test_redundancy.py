"""Which blocks change little: the numbers against their definitions, planted blocks, features and rows."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import warnings
from pathlib import Path

import memory_growth
import numpy as np
import planted_networks as planted
import pytest
import xarray

import homolog as hl
from homolog.analysis.redundant import findings, measuring, row_sums
from homolog.machine import parse_bytes

NAMES = ["influence", "angular_distance", "best_value", "cka", "norm", "norm_growth"]
NAMES += ["effective_rank", "participation_ratio"]


@pytest.fixture(scope="module")
def layers():
    return planted.stream()


@pytest.fixture(scope="module")
def result(layers):
    return hl.redundancy(layers)


def cosines(x, y):
    return np.array([(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(x, y, strict=True)])


def agree(found, suffix, other, names=NAMES, tolerance=1e-9):
    for name in names:
        np.testing.assert_allclose(found[name + suffix], other[name], rtol=tolerance, atol=tolerance, err_msg=name)


# --- Definitions


def test_influence_is_one_minus_the_mean_cosine(layers, result):
    arrays = list(layers.values())
    expected = [1 - cosines(x, y).mean() for x, y in itertools.pairwise(arrays)]
    np.testing.assert_allclose(result.influence, expected, atol=1e-14)
    assert result.block.values.tolist() == list(layers)[1:]
    assert result.input.values.tolist() == list(layers)[:-1]


def test_angular_distance_is_the_mean_angle_between_input_and_output_of_a_run(layers, result):
    arrays = list(layers.values())
    assert result.span.values.tolist() == list(range(1, 10))
    for start in range(10):
        for span in range(1, 10):
            value = result.angular_distance.values[start, span - 1]
            if start + span > 10:
                assert np.isnan(value)
                continue
            expected = np.mean(np.arccos(np.clip(cosines(arrays[start], arrays[start + span]), -1, 1)) / np.pi)
            assert value == pytest.approx(expected, abs=1e-8)


def test_effective_rank_is_that_of_roy_and_vetterli(layers, result):
    for name, x in layers.items():
        singular = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
        shares = singular / singular.sum()
        expected = np.exp(-(shares * np.log(shares)).sum())
        assert result.effective_rank.sel(layer=name).item() == pytest.approx(expected, rel=1e-9)
        ratio = (singular**2).sum() ** 2 / (singular**4).sum()
        assert result.participation_ratio.sel(layer=name).item() == pytest.approx(ratio, rel=1e-9)


def test_norms_shares_and_the_comparison(layers, result):
    for name, x in layers.items():
        norms = np.linalg.norm(x, axis=1)
        at = result.sel(layer=name)
        assert at.norm.item() == pytest.approx(norms.mean())
        assert at.norm_median.item() == pytest.approx(np.median(norms))
        squares = (x**2).sum(axis=0)
        assert at.top_feature.values.tolist() == np.argsort(-squares)[:5].tolist()
        np.testing.assert_allclose(at.top_share, np.sort(squares)[::-1][:5] / squares.sum())
        assert at.mean_share.item() == pytest.approx(len(x) * (x.mean(axis=0) ** 2).sum() / squares.sum())
    compared = hl.compare(layers, measures="cka(estimator=debiased)")["cka(estimator=debiased)"]
    np.testing.assert_allclose(result.cka, compared, rtol=1e-12)
    growth = result.norm.values[1:] / result.norm.values[:-1]
    np.testing.assert_allclose(result.norm_growth, growth)


def test_more_features_than_rows_give_the_same_ranks():
    wide = planted.stream(n=12, p=40)
    found = hl.redundancy(planted.with_feature(wide, 3, 500.0))
    for name, x in wide.items():
        x = np.delete(x, 3, axis=1)
        singular = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[:-1]
        shares = singular / singular.sum()
        at = found.sel(layer=name)
        assert at.effective_rank_without.item() == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-6)


# --- Planted blocks


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_blocks_that_do_nothing_come_first(noise):
    found = hl.redundancy(planted.stream(noise=noise))
    order = np.argsort(found.influence.values, kind="stable")
    assert set(order[:3]) == set(planted.IDENTITY)
    assert set(np.argsort(found.angular_distance.sel(span=1).values)[:3]) == set(planted.IDENTITY)
    run = found.sel(span=2)
    assert (run.best_start.item(), found.best_start.sel(span=1).item() in ("block.3", "block.6")) == ("block.6", True)
    if not noise:
        assert found.influence.values[list(planted.IDENTITY)].tolist() == [0, 0, 0]
        assert found.best_ties.sel(span=1).item() == 3
        assert found.best_start.sel(span=1).item() == "block.3"
        assert "the first of 3 equal runs" in str(hl.summary(found))


# --- Planted features and rows


def test_nothing_massive_nothing_without(result):
    assert json.loads(result.attrs["massive_features"]) == []
    assert not [name for name in result if "_without" in name]
    assert "No feature is massive" in str(hl.summary(result))


@pytest.mark.parametrize("value", [40.0, -400.0, 1e5])
def test_a_massive_feature_is_named_and_the_numbers_are_given_without_it(layers, value):
    found = hl.redundancy(planted.with_feature(layers, 5, value, first=3))
    (told,) = json.loads(found.attrs["massive_features"])
    assert (told["feature"], told["largest"]) == (5, abs(value))
    assert told["share"]["block.4"] > 0.5 > told["share"]["block.1"]
    agree(found, "_without", hl.redundancy(planted.less_columns(layers, [5])))
    assert (
        found.best_start_without.values.tolist()
        == hl.redundancy(planted.less_columns(layers, [5])).best_start.values.tolist()
    )
    assert found.influence.values[4] < 0.1 * found.influence_without.values[4]
    assert "Massive feature 5 holds" in str(hl.summary(found))
    assert "block.2 to block.9" in str(hl.summary(found))


def test_a_massive_feature_at_one_position_is_found_with_its_rows(layers):
    positions, ids = np.tile(np.arange(30), 10), np.repeat([f"text {i}" for i in range(10)], 30)
    large = planted.with_feature(layers, 5, 3000.0, first=2, rows=positions == 0)
    found = hl.redundancy(hl.Activations(large, example_ids=ids, positions=positions))
    (told,) = json.loads(found.attrs["massive_features"])
    assert (told["feature"], told["position"]) == (5, "0")
    assert told["example"] in set(ids)
    rows = json.loads(found.attrs["outlying_rows"])
    assert rows["positions"] == {"0": 10}
    assert rows["count"] == 10
    assert found.top_position.values[3:].tolist() == [0] * 8
    assert found.top_position_share.values[-1] > 0.9
    agree(found, "_without", hl.redundancy(planted.less_columns(layers, [5])))
    fewer = planted.less_rows(layers, positions == 0)
    agree(found, "_without_rows", hl.redundancy(fewer))
    agree(found, "_without_both", hl.redundancy(planted.less_columns(fewer, [5])))
    lines = str(hl.summary(found))
    assert "at position 0 of example text" in lines
    assert "10 at position 0" in lines


def test_features_named_by_the_caller_are_left_out(layers, result):
    found = hl.redundancy(layers, remove_features=[3, 7])
    agree(found, "_without", hl.redundancy(planted.less_columns(layers, [3, 7])))
    agree(found, "", result)
    assert "No feature is massive." in str(hl.summary(found))
    assert "Without features 7, 3: median influence" in str(hl.summary(found))
    kept = hl.redundancy(planted.with_feature(layers, 5, 400.0), remove_features=None)
    assert "influence_without" not in kept
    assert "Massive feature 5 holds" in str(hl.summary(kept))
    assert "Without" not in str(hl.summary(kept))


def test_the_criterion_of_sun_and_others():
    """One value above 100 and above 1000 times the median, too small a share of a wide layer for the other rule."""
    layers = planted.stream(n=4000, p=64)
    layers = {name: x / 5 for name, x in layers.items()}
    layers["block.9"] = layers["block.9"].copy()
    value = 1500 * np.median(np.abs(layers["block.9"]))
    layers["block.9"][7, 11] = value
    (told,) = json.loads(hl.redundancy(layers).attrs["massive_features"])
    assert (told["feature"], told["row"]) == (11, 7)
    layers["block.9"][7, 11] = value / 2
    assert json.loads(hl.redundancy(layers).attrs["massive_features"]) == []


def test_a_layer_of_many_large_features_has_no_massive_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 24)) * np.where(np.arange(24) < 10, 50, 1)
    found = hl.redundancy({"in": x, "out": x + rng.normal(size=x.shape)})
    assert json.loads(found.attrs["massive_features"]) == []


# --- What is beside


def test_a_probe_stands_beside_the_numbers(layers):
    labels = (layers["embed"][:, 0] > 0).astype(int)
    found = hl.redundancy(layers, labels=labels)
    expected = hl.probe(layers, labels)
    np.testing.assert_array_equal(found.accuracy, expected.accuracy)
    assert found.attrs["chance"] == expected.attrs["chance"]
    assert "linear probe" in str(hl.summary(found))


def test_the_callers_loss_is_asked_once_for_each_removal(layers):
    asked = []

    def loss(removed):
        asked.append(removed)
        return 1 + sum(10 if name == "block.6" else 1 for name in removed)

    found = hl.redundancy(layers, loss=loss)
    assert len(asked) == len(set(asked))
    assert asked[0] == ()
    assert {(name,) for name in found.block.values} <= set(asked)
    assert found.attrs["baseline_loss"] == 1
    assert found.loss.sel(block="block.6").item() == 11
    assert found.best_loss.sel(span=2).item() == 12  # blocks 6 and 7
    assert set(hl.table(found)) >= {"blocks", "first", "last", "angular_distance", "ties", "loss", "loss_change"}
    lines = str(hl.summary(found))
    assert "Your loss is 1 for the whole network, and 11 without block.6" in lines
    assert "rank correlation" in lines


def test_a_loss_that_is_no_number(layers):
    with pytest.raises(TypeError, match="loss must return one number, got None of the whole network"):
        hl.redundancy(layers, loss=lambda removed: None)


# --- The result


def test_a_result_comes_back_from_a_file_as_it_was(layers, tmp_path):
    x = planted.with_feature(layers, 5, 3000.0, first=2, rows=slice(0, 5))
    found = hl.redundancy(hl.Activations(x, positions=np.arange(300) % 30), loss=len)
    found.to_netcdf(tmp_path / "r.nc")
    assert xarray.load_dataset(tmp_path / "r.nc").identical(found)
    assert all(isinstance(value, str | float | np.int32) for value in found.attrs.values())
    assert found.attrs["title"] == "homolog redundancy"
    assert json.loads(found.attrs["measures"]) == ["cka"]
    assert (found.cka.attrs["kind"], found.cka_without.attrs["companion_of"]) == ("similarity", "cka")


def test_another_measure(layers):
    found = hl.redundancy(layers, measure="procrustes_distance")
    assert found.procrustes_distance.attrs["kind"] == "distance"
    assert "cka" not in found
    agree(hl.redundancy(layers, measure=hl.cka), "", found, ["influence"])


def test_rows_in_blocks_and_on_disk_give_the_same(layers, tmp_path, monkeypatch):
    x = planted.with_feature(layers, 5, 3000.0, first=2, rows=slice(0, 300, 30))
    activations = hl.Activations(x, positions=np.arange(300) % 30)
    whole = hl.redundancy(activations)
    assert "influence_without_both" in whole
    hl.save(activations, tmp_path / "a.zarr")
    monkeypatch.setattr(row_sums, "MOST_ROWS", 37)
    monkeypatch.setattr("homolog.analysis.redundant.spectra.MOST_ROWS", 37)
    for source in (activations, hl.open(tmp_path / "a.zarr"), tmp_path / "a.zarr"):
        found = hl.redundancy(source)
        for name in whole:
            if whole[name].dtype.kind == "f":
                np.testing.assert_allclose(found[name], whole[name], rtol=1e-9, atol=1e-9, err_msg=name)
            else:
                np.testing.assert_array_equal(found[name], whole[name], err_msg=name)


@pytest.mark.parametrize("measure", ["cka(estimator=debiased)", "cka", "hsic(estimator=debiased)"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32"])
def test_sums_of_one_pass_give_what_comparing_every_form_gives(measure, dtype, monkeypatch):
    """Far from 0, with a feature that never varies, one that is massive, and rows a million times as long as others."""
    layers = {name: 1000 + 50 * x for name, x in planted.stream(n=400, p=12).items()}
    layers["block.2"][:, 4] = 7
    layers["block.5"][::80] *= 1e6
    layers = {name: x.astype(dtype) for name, x in planted.with_feature(layers, 3, 1e8, first=6).items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        found = hl.redundancy(layers, measure=measure, remove_features=[3])
        monkeypatch.setattr(findings, "fit", lambda *given: False)
        apart = hl.redundancy(
            {name: x.astype(float) for name, x in layers.items()}, measure=measure, remove_features=[3]
        )
    assert "influence_without_both" in found
    assert set(found) == set(apart)
    for name in found:
        if found[name].dtype.kind == "f":
            np.testing.assert_allclose(found[name], apart[name], rtol=1e-8, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], apart[name], err_msg=name)


@pytest.mark.parametrize(("measure", "memory"), [("cka", "100KiB"), ("procrustes_distance", "2GiB")])
def test_nobody_asks_for_p_values(layers, measure, memory, monkeypatch):
    """Nor is anything summed that the memory does not hold, or that a measure does not follow from."""
    asked, run = [], measuring.compare

    def watched(given, **options):
        found = run(given, **options)
        asked.extend(name for name in found if name.endswith("_p"))
        return found

    monkeypatch.setattr(measuring, "compare", watched)
    monkeypatch.setattr(findings, "StreamSums", None)
    hl.redundancy(layers, measure=measure, memory=memory)
    assert asked == []
    assert [name for name in run(layers, measures="cka") if name.endswith("_p")] == ["cka_p"]


@pytest.mark.parametrize("memory", ["32MiB", "96MiB"])
def test_memory_is_what_was_said_whatever_the_number_of_rows(memory):
    script = Path(__file__).with_name("redundancy_memory.py")
    if not memory_growth.FORGET.exists():
        pytest.skip("resident memory is read, and its peak forgotten, through /proc/self, which is not here")
    ran = subprocess.run(
        [sys.executable, "-P", str(script), "40000", "64", "8", memory],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{script.parent}:{script.parent.parent / 'src'}", "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["summed"] == (memory == "96MiB")
    assert found["used"] <= parse_bytes(memory) + (64 << 20), found


@pytest.mark.parametrize("length", [8, 13, 40])
def test_medians_are_of_rows_by_chance_where_the_memory_is_small(length):
    """Every k-th row would be the first token of every text, where k is a multiple of the length; 1000 rows in step, too."""
    layers = planted.stream(n=39_961, p=4)
    first = np.arange(39_961) % length == 0
    for x in layers.values():
        x[first] *= 100  # which the median is not of
    sizes = hl.redundancy(layers, memory=3_500_000).norm_median.values
    expected = [np.median(np.linalg.norm(x, axis=1)) for x in layers.values()]
    np.testing.assert_allclose(sizes, expected, rtol=0.1)


def test_medians_where_the_memory_is_small_change_no_other_number():
    layers = planted.stream(n=3000, p=8)
    whole, small = hl.redundancy(layers), hl.redundancy(layers, memory=300_000)
    np.testing.assert_allclose(small.norm_median, whole.norm_median, rtol=0.1)
    assert (small.norm_median.values != whole.norm_median.values).any()
    agree(small, "", whole)
