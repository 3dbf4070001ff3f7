"""compare: sources, pairs, companions, netCDF; what follows a comparison."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray
from representation_pairs import related

import homolog as hl

TWO_NETWORKS = pytest.mark.filterwarnings("ignore::homolog.FewModelsWarning")


@pytest.fixture
def layers(rng):
    x, y = related(rng, n=300)
    return {"early": x, "late": y}


@pytest.mark.parametrize("engine", ["scipy", "h5netcdf"])
def test_result_is_read_back_identically(layers, tmp_path, engine):
    result = hl.compare(layers, {"é/ü": layers["late"]}, measures=("cka", "cka(estimator=debiased)", "pwcca"))
    result.to_netcdf(tmp_path / "result.nc", engine=engine)
    back = xarray.load_dataset(tmp_path / "result.nc", engine=engine)
    xarray.testing.assert_identical(result, back)


def test_self_comparison_equals_two_equal_models(layers):
    forms = ("cka", "pwcca", "linear_regression", "semi_match")
    one, two = hl.compare(layers, measures=forms), hl.compare(layers, dict(layers), measures=forms)
    for name in [*forms, "pwcca_reversed", "cka_null", "linear_regression_null"]:
        np.testing.assert_allclose(one[name].values, two[name].values, atol=1e-12)


def test_pairs(layers):
    other = {"late": layers["late"], "extra": layers["early"]}
    same = hl.compare(layers, other, measures="cka", pairs="same_name")
    assert int(same.cka.notnull().sum()) == 1
    listed = hl.compare(layers, other, measures="cka", pairs=[("early", "extra")])
    assert float(listed.cka.sel(layer_a="early", layer_b="extra")) == pytest.approx(1)
    assert int(listed.cka.notnull().sum()) == 1


def test_a_function_of_the_caller(layers):
    result = hl.compare(layers, measures={"mine": lambda x, y: float(x[0, 0] - y[0, 0]), "cka": "cka"})
    assert float(result.mine[0, 1]) == -float(result.mine[1, 0])
    assert json.loads(result.attrs["measures"]) == ["mine", "cka"]


def test_null_level_warns_once_and_is_recorded(rng):
    x = {f"layer {i}": rng.normal(size=(30, 40)) for i in range(3)}
    with pytest.warns(hl.NullLevelWarning, match="would already score cka up to") as told:
        result = hl.compare(x, measures="cka")
    assert len(told) == 1
    assert float(result.cka_null.max()) > 0.3
    assert "NullLevelWarning" in result.attrs["warnings"]


def test_correspondence_of_a_distance_takes_the_smallest(layers):
    found = hl.correspondence(hl.compare(layers, measures="procrustes_distance"))
    assert found.best_b.values.tolist() == ["early", "late"]
    assert found.mutual_a.values.all()


@TWO_NETWORKS
def test_layer_identification_adds_both_directions(layers, rng):
    other = {name: x + 0.01 * rng.normal(size=x.shape) for name, x in layers.items()}
    found = hl.layer_identification(hl.compare(layers, other, measures=("cka", "semi_match", "procrustes_distance")))
    assert found.accuracy.values.tolist() == [1.0, 1.0, 1.0]
    assert found.chance.values.tolist() == [0.5, 0.5, 0.5]
    assert found.decisions.values.tolist() == [4, 4, 4]


def test_shuffled_pairing_is_an_error(layers):
    ids = np.arange(300)
    a = hl.Activations(layers, digests=ids.astype(np.uint64))
    with pytest.raises(ValueError, match="same inputs in another order"):
        hl.compare(a, a.take(ids[::-1]))
    with pytest.raises(ValueError, match="example ids that differ first in row 0"):
        hl.compare(hl.Activations(layers, example_ids=ids), hl.Activations(layers, example_ids=ids + 1))


@pytest.mark.parametrize("count", [2, 36])
def test_heatmap_leaves_room_for_its_labels(rng, count):
    names = [f"model.encoder.a.long.path.blocks.{i}.attention.output" for i in range(count)]
    result = hl.compare({name: rng.normal(size=(50, 2)) for name in names}, measures="cka(estimator=debiased)")
    axes = hl.plot.heatmap(result)
    axes.figure.canvas.draw()
    inside = axes.figure.bbox
    for text in [axes.title, *axes.get_yticklabels(), *axes.get_xticklabels(), axes.figure.axes[1].yaxis.label]:
        box = text.get_window_extent()
        assert inside.contains(box.x0, box.y0)
        assert inside.contains(box.x1, box.y1)


def test_heatmap_of_a_hundred_layers(rng):
    x = rng.normal(size=(50, 2))
    many = {f"blocks.{i}.$attn$": x + i * rng.normal(size=(50, 2)) for i in range(100)}
    axes = hl.plot.heatmap(hl.compare(many, measures="cka(estimator=debiased)"))
    assert len(axes.get_xticklabels()) <= 40
    axes.figure.canvas.draw()


HEAVY = {"torch", "jax", "zarr", "dask", "matplotlib", "plotly", "sklearn", "xarray", "pandas"}
HEAVY |= {f"scipy.{part}" for part in ("linalg", "optimize", "sparse", "spatial", "special", "stats")}


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("import homolog", {"typer", "rich"}),
        ("import homolog, numpy; homolog.cka(numpy.eye(3), numpy.eye(3))", {"typer", "rich"}),
        ("from homolog.cli.app import run; run(['--help'])", set()),
    ],
    ids=["import", "a value", "help"],
)
def test_importing_homolog_loads_nothing_heavy(code, more):
    """Each of these takes longer to import than all of homolog."""
    code = f"{code}\nimport sys\nsys.exit(str(sorted({HEAVY | more} & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"


def test_files_keep_layers_and_row_identity(layers, tmp_path):
    kept = hl.Activations(layers, example_ids=[f"id {i}" for i in range(300)], digests=np.arange(300, dtype=np.uint64))
    for name in ("a.npz", "a.safetensors"):
        hl.save(kept, tmp_path / name)
        back = hl.open(tmp_path / name)
        assert list(back) == ["early", "late"]
        np.testing.assert_array_equal(back["late"], layers["late"])
        np.testing.assert_array_equal(back.example_ids, kept.example_ids)
        np.testing.assert_array_equal(back.digests, kept.digests)


def test_modules_that_were_public_are_told_of():
    for name, holds in (("registry", "unregister"), ("cautions", "HomologWarning")):
        with pytest.warns(FutureWarning, match=f"^homolog.{name} is no longer public"):
            assert getattr(getattr(hl, name), holds) is getattr(hl, holds)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hl.nothing  # noqa: B018


def test_no_module_has_the_name_of_a_public_function():
    """Importing a submodule would overwrite the function."""
    before = {name: getattr(hl, name) for name in hl.__all__}
    for module in pkgutil.walk_packages(hl.__path__, "homolog."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert {name: getattr(hl, name) for name in hl.__all__} == before


def test_damaged_or_pickled_files_are_refused(layers, tmp_path):
    hl.save(layers, tmp_path / "a.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((tmp_path / "a.safetensors").read_bytes()[:500])
    torch.save({"layer": object()}, tmp_path / "pickled.pt")
    torch.save({"layer": torch.ones(4, 2)}, tmp_path / "plain.pt")
    torch.save({"map": torch.ones(4, 2, 3, 3)}, tmp_path / "map.pt")
    assert hl.open(tmp_path / "plain.pt")["layer"].shape == (4, 2)
    with pytest.raises(ValueError, match=r"cut.safetensors' must be a readable"):
        hl.open(cut)
    with pytest.raises(ValueError, match="pickled Python objects, which are not read"):
        hl.open(tmp_path / "pickled.pt")
    with pytest.raises(ValueError, match=r"map.pt', layer 'map' must have two axes"):
        hl.open(tmp_path / "map.pt")


@TWO_NETWORKS
def test_ties_count_as_a_share_and_go_to_the_namesake(layers):
    twice = {"late": layers["late"], "relu": layers["early"], "dropout": layers["early"].copy()}
    result = hl.compare(twice, dict(twice), measures=("cka", "procrustes_distance"))
    assert hl.correspondence(result).best_b.values.tolist() == ["late", "relu", "dropout"]
    assert hl.layer_identification(result).accuracy.values == pytest.approx([2 / 3, 2 / 3])
    everything_equal = hl.compare(twice, dict(twice), measures={"one": lambda x, y: 1.0})
    assert hl.layer_identification(everything_equal).accuracy.item() == pytest.approx(1 / 3)


def test_constant_layers_give_one_warning_and_no_other(layers):
    dead = {"dead": np.ones((300, 2)), **layers}
    with pytest.warns(hl.HomologWarning) as told:
        result = hl.compare(dead, measures=("cka", "cka(estimator=debiased)", "cka(kernel=rbf)", "cca", "pwcca"))
    assert {warning.category for warning in told} <= {hl.ConstantLayerWarning, hl.NullLevelWarning}
    assert np.isnan(result.cka[0]).all()
    assert result.cka[1:, 1:].notnull().all()


def test_directions_left_out_are_told(rng):
    x = rng.normal(size=(200, 6)) * [1e7, 1, 1, 1, 1, 1]
    with pytest.warns(hl.RankWarning, match="x: directions with less than 1e-6 of the largest singular value"):
        hl.cca(x, rng.normal(size=(200, 3)))
    single = x.astype(np.float32)
    single[:, 5] = single[:, 4]  # rank-deficient up to rounding: no news
    hl.cca(single[:, 1:], rng.normal(size=(200, 3)).astype(np.float32))


def test_many_models_are_read_two_by_two(layers, rng):
    seeds = {str(i): {name: x + 0.05 * rng.normal(size=x.shape) for name, x in layers.items()} for i in range(3)}
    many = hl.compare(seeds, measures=("cka", "pwcca"))
    two = hl.compare(seeds["0"], seeds["2"], measures=("cka", "pwcca"))
    part = hl.between(many, "0", "2")
    for name in two.data_vars:
        if not name.endswith("_p_fdr"):  # adjusted for as many pairs as were compared
            np.testing.assert_allclose(part[name], two[name], atol=1e-12)
    assert hl.correspondence(part).best_b.values.tolist() == ["early", "late"]
    found = hl.layer_identification(many)
    assert found.decisions.values.tolist() == [12, 12]
    assert found.accuracy.values.tolist() == [1, 1]
    axes = hl.plot.heatmap(many)
    assert axes.get_xticklabels()[2].get_text() == "1 early"
    with pytest.raises(ValueError, match="needs two models, got a result of many"):
        hl.correspondence(many)


@TWO_NETWORKS
def test_infinite_values_are_the_best(rng):
    a = {"z": rng.normal(size=(300, 3)), "a": rng.normal(size=(300, 4)), "b": rng.normal(size=(300, 5))}
    b = {"z": rng.normal(size=(300, 3)), "a": a["a"] @ rng.normal(size=(4, 4)), "b": a["b"] @ rng.normal(size=(5, 5))}
    result = hl.compare(a, b, measures="gaussian_mutual_information")
    assert hl.correspondence(result).best_b.values.tolist()[1:] == ["a", "b"]
    assert hl.layer_identification(result).accuracy.item() >= 2 / 3
    hl.plot.heatmap(result).figure.canvas.draw()


@TWO_NETWORKS
def test_layers_that_were_not_compared_decide_nothing(layers):
    some = hl.compare(
        layers, dict(layers), measures="procrustes_distance", pairs=[("early", "early"), ("early", "late")]
    )
    found = hl.layer_identification(some)
    assert (found.accuracy.item(), found.chance.item(), found.decisions.item()) == (1.0, 0.5, 1)
    alone = hl.compare(layers, dict(layers), measures="procrustes_distance", pairs="same_name")
    with pytest.raises(ValueError, match="compared with their namesake and another"):
        hl.layer_identification(alone)


@TWO_NETWORKS
def test_parts_of_many_models_and_pairs_in_any_order(layers):
    seeds = {"one": layers, "two": dict(layers), "three": dict(layers)}
    many = hl.compare(seeds, measures="procrustes_distance", pairs=[(["two", "early"], ["one", "late"])])
    part = hl.between(many, "one", "two")
    assert float(part.procrustes_distance.sel(layer_a="late", layer_b="early")) > 0
    everything = hl.compare(seeds, measures="procrustes_distance")
    kept = everything.isel(a=slice(0, 4), b=slice(0, 4))
    assert hl.layer_identification(kept).decisions.item() == 4
    with pytest.raises(KeyError, match="unknown model 'three' in this result, which holds one, two"):
        hl.between(kept, "one", "three")
