"""Names of models, what made each layer, and results as tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import homolog as hl

pytestmark = pytest.mark.filterwarnings("ignore::homolog.NullLevelWarning", "ignore::homolog.SaturationWarning")


def layers(rng, names="uvw", n=40):
    x = rng.normal(size=(n, 3))
    return {name: x + rng.normal(size=(n, 3)) for name in names}


def network():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 5))


@pytest.fixture
def extracted():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return hl.extract(network(), torch.randn(20, 3, 8, 8))


def test_models_are_called_as_asked(rng):
    a, b = layers(rng), layers(rng)
    found = hl.compare(a, b, names=("before", "after"))
    assert (found.attrs["model_a"], found.attrs["model_b"]) == ("before", "after")
    assert found["cka"].dims == ("layer_a", "layer_b")
    itself = hl.compare(a, names="base")
    assert (itself.attrs["model_a"], itself.attrs["model_b"]) == ("base", "base")
    assert hl.compare(a, a, names=("one", "two")).attrs["model_b"] == "two"
    many = hl.compare({"one": a, "two": b}, names=("two", "one"))
    assert many.attrs["model_a"] == "two"
    np.testing.assert_array_equal(many.cka.values, hl.compare(b, a).cka.values)
    assert "a" in hl.compare({"one": a, "two": b}).dims


@pytest.mark.parametrize("names", [("x",), ("x", "x"), ("x", ""), 3, ("x", 2), ("x", "y", "z"), "xy", ("x", "a\udcff")])
def test_wrong_names_are_refused(rng, names):
    with pytest.raises(ValueError, match="names must be two different texts, one for each model"):
        hl.compare(layers(rng), layers(rng), names=names)


def test_names_choose_two_of_many(rng):
    with pytest.raises(KeyError, match=r"unknown model 'thre', did you mean three\?"):
        hl.compare({name: layers(rng) for name in ("one", "two", "three")}, names=("one", "thre"))


@pytest.mark.parametrize("form", ["npz", "safetensors", "zarr", "store", "memory"])
def test_what_made_a_layer_comes_with_it(extracted, tmp_path, form):
    path = tmp_path / f"a.{'zarr' if form == 'store' else form}"
    if form == "store":
        torch.manual_seed(0)
        hl.extract(network(), torch.randn(20, 3, 8, 8), out=path)
    elif form != "memory":
        hl.save(extracted, path)
    found = extracted if form == "memory" else hl.open(path)
    assert found.modules["0"][:2] == ("Conv2d", "8 × 6 × 6")
    assert found.modules["3"][:2] == ("Linear", "5")
    assert not any("modules" in key for key in found.provenance)
    result = hl.compare(found, layers(np.random.default_rng(0), n=20))
    assert result.type_a.values.tolist() == ["Conv2d", "ReLU", "Flatten", "Linear"]
    assert result.shape_a.values.tolist() == ["8 × 6 × 6", "8 × 6 × 6", "288", "5"]
    assert "type_b" not in result.coords


def test_what_made_a_layer_follows_it(extracted):
    renamed = extracted.rename({"0": "first", "3": "0"})
    assert renamed.modules["first"].type == "Conv2d"
    assert renamed.modules["0"].type == "Linear"
    assert list(extracted.select("1").modules) == ["1"]
    assert extracted.take([0, 1]).modules == extracted.modules
    assert hl.Activations({"x": np.eye(3)}, provenance={"modules of the layers": "no JSON"}).modules == {}


def test_shapes_leave_out_the_axis_of_the_examples():
    class Turned(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(4, 6)

        def forward(self, x):
            return self.inner(x.transpose(0, 1)).transpose(0, 1)

    found = hl.extract(Turned(), torch.randn(10, 3, 4), axis={"inner": 1})
    assert found.modules["inner"].shape == "3 × 6"


def test_compare_models_has_options_for_each_side():
    torch.manual_seed(0)
    images = torch.randn(64, 3, 8, 8)
    found = hl.compare_models(network(), network(), images, layers=["0", "3"], reduce_a="mean", batch_size=16)
    assert found.layer_b.values.tolist() == ["0", "3"]
    assert found.features_a.values.tolist() == [8, 5]
    assert found.features_b.values.tolist() == [288, 5]
    assert found.type_b.values.tolist() == ["Conv2d", "Linear"]
    one = network()
    itself = hl.compare_models(one, one, images, layers_a="0", layers_b="3", batch_size=16)
    assert (itself.layer_a.item(), itself.layer_b.item()) == ("0", "3")
    both = hl.compare_models(one, one, images, layers="0", reduce_b="mean", batch_size=16, exact=True)
    assert (both.features_a.item(), both.features_b.item()) == (288, 8)
    assert not both.attrs["same_model"]


def test_a_table_has_one_row_per_pair(rng):
    a, b = layers(rng), layers(rng, "vwxy")
    result = hl.compare(a, b, measures=["cka", "linear_regression"], interval=True)
    table = hl.table(result)
    assert len(table) == 12
    assert {"value", "null", "p", "p_fdr", "se", "low", "high", "supported", "features_a"} <= set(table.columns)
    row = table[(table.layer_a == "v") & (table.layer_b == "x")].iloc[0]
    assert row.value == result.cka.sel(layer_a="v", layer_b="x").item()
    assert row.p_fdr == result.cka_p_fdr.sel(layer_a="v", layer_b="x").item()
    regression = hl.table(result, "linear_regression")
    assert "reversed" in regression.columns
    assert "p" not in regression.columns


def test_a_table_of_one_model_has_each_pair_once(rng):
    result = hl.compare(layers(rng), measures=["cka", "linear_regression"])
    assert hl.table(result)[["layer_a", "layer_b"]].values.tolist() == [["u", "v"], ["u", "w"], ["v", "w"]]
    assert len(hl.table(result, "linear_regression")) == 6
    part = result.isel(layer_a=[2, 0])
    assert hl.table(part)[["layer_a", "layer_b"]].values.tolist() == [["w", "u"], ["w", "v"], ["u", "v"]]


def test_a_table_of_layers_with_themselves_where_nothing_else_was_asked(rng):
    a = layers(rng)
    table = hl.table(hl.compare(a, a, pairs="same_name"))
    assert table[["layer_a", "layer_b"]].values.tolist() == [["u", "u"], ["v", "v"], ["w", "w"]]


def test_a_table_of_many_models_names_them(rng):
    result = hl.compare({name: layers(rng, "uv") for name in "12"})
    table = hl.table(result)
    assert table.columns[:4].tolist() == ["model_a", "layer_a", "model_b", "layer_b"]
    assert len(table) == 6  # of four layers


def test_pairs_that_were_not_asked_for_have_no_row_but_undefined_ones_have(rng):
    a, b = layers(rng), layers(rng)
    assert len(hl.table(hl.compare(a, b, pairs="same_name"))) == 3
    with pytest.warns(hl.ConstantLayerWarning):
        result = hl.compare(a | {"constant": np.ones((40, 2))}, b)
    table = hl.table(result)
    assert len(table) == 12
    assert table[table.layer_a == "constant"].value.isna().all()
    assert not table[table.layer_a == "constant"].supported.any()


def test_a_table_of_a_correspondence(rng):
    a = layers(rng)
    found = hl.table(hl.correspondence(hl.compare(a, a)))
    assert found.columns.tolist() == [
        "layer_a", "best_b", "value_b", "mutual_a", "supported_b", "assigned_b", "path_b",
    ]  # fmt: skip
    assert found.best_b.tolist() == ["u", "v", "w"]


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        ("debiased_cka", "cka(estimator=debiased)"),
        ("Debiased CKA", "cka(estimator=debiased)"),
        ("linear_cka", "cka"),
        ("CKA", "cka"),
        ("rbf_cka", "cka(kernel=rbf)"),
        ("rbf_cka(median_fraction=0.4)", "cka(kernel=rbf,median_fraction=0.4)"),
        ("debiased-cka(kernel=rbf)", "cka(kernel=rbf,estimator=debiased)"),
        ("procrustes", "procrustes_distance"),
        ("SVCCA", "svcca"),
        ("hard_correlation_match", "bipartite_match"),
    ],
)
def test_short_names_that_people_type(rng, short, whole):
    assert str(hl.measure(short)) == whole
    result = hl.compare(layers(rng), measures=[short, "rsa"])
    chosen = hl.correspondence(result, short).attrs["measure"] if "(" not in short else whole
    assert chosen == str(hl.measure(short))


def test_unknown_names_name_the_near_ones(rng):
    with pytest.raises(KeyError, match="did you mean debiased_cka"):
        hl.measure("debaised_cka")
    with pytest.raises(KeyError, match="unknown measure 'rbf_cka' in this result, which holds cka"):
        hl.correspondence(hl.compare(layers(rng), measures="cka"), "rbf_cka")
