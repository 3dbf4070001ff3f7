"""Models that are the same network under different names, and layers that two models share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray
from small_checkpoints import build, examples, weights

import homolog as hl
from homolog.equal_layers import are_equal, equal_models, input_layers

DEBIASED = "cka(estimator=debiased)"
FEW = {"n_permutations": 19}


def extracted(seed, **options):
    network = build()
    network.load_state_dict(weights(seed))
    return hl.extract(network, examples(), **options)


@pytest.fixture(scope="module")
def five():
    """Five networks, of which two are one, as files under different names would be."""
    return {f"run {letter}": extracted(seed) for letter, seed in zip("abcde", (3, 4, 5, 4, 6), strict=True)}


def kinds(found):
    return [(finding.kind, finding.where) for finding in found if finding.kind in ("same network", "unchanged layers")]


def test_two_copies_among_five_are_named(five):
    assert kinds(hl.diagnose(five, **FEW)) == [("same network", "run b and run d")]
    assert "all 5 layers are equal to rounding" in str(hl.diagnose(five, **FEW))
    result = hl.compare(five, measures="cka")
    assert "run b and run d are the same network" in str(hl.summary(result))
    rest = result.isel(a=result.model_a.values != "run d", b=result.model_b.values != "run d")
    assert "the same network" not in str(hl.summary(rest))
    assert "the same network" not in str(hl.summary(hl.between(result, "run a", "run b")))
    assert "all 5 layers are equal" in str(hl.summary(hl.between(result, "run b", "run d")))


def test_the_result_keeps_it_in_a_file(five, tmp_path):
    result = hl.compare(five["run b"], five["run d"], names=("b", "d"))
    result.to_netcdf(tmp_path / "result.nc")
    assert xarray.load_dataset(tmp_path / "result.nc").identical(result)
    assert "b and d are the same network" in str(hl.summary(xarray.load_dataset(tmp_path / "result.nc")))
    for broken in ("[", "[1]", '[["b"]]', "3"):
        assert "same network" not in str(hl.summary(result.assign_attrs(equal_layers=broken)))


def test_shared_frozen_layers_are_not_the_same_network(five):
    tuned = dict(weights(4)) | {name: value for name, value in weights(9).items() if name.startswith("4")}
    network = build()
    network.load_state_dict(tuned)
    after = hl.extract(network, examples())
    (finding,) = [
        each
        for each in hl.diagnose(five["run b"], after, **FEW)
        if "layers" in each.kind and each.kind.startswith("un")
    ]
    assert finding.kind == "unchanged layers"
    assert finding.message.startswith("4 of 5 layers are equal to rounding (0, 1, 2, 3)")
    said = str(hl.summary(hl.compare(five["run b"], after, names=("before", "after"))))
    assert "Of before and after 4 of 5 layers are equal to rounding (0, 1, 2, 3): they were not changed" in said
    assert "same network" not in said


CHANGES = {
    "scaled": lambda x: 2 * x,
    "rotated": lambda x: x @ np.linalg.qr(np.random.default_rng(0).normal(size=(x.shape[1],) * 2))[0],
    "moved": lambda x: x + 1,
    "of other neurons": lambda x: x[:, ::-1],
    "nearly equal": lambda x: x * (1 + 1e-4 * np.random.default_rng(0).normal(size=x.shape)),
    "of one other example": lambda x: np.concatenate([x[:-1], x[-1:] + 0.1]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_measures_cannot_tell_apart_is_no_proof(five, change):
    """CKA of the first three is exactly 1."""
    layers = {name: np.asarray(x) for name, x in five["run a"].items()}
    assert kinds(hl.diagnose(layers, {name: CHANGES[change](x) for name, x in layers.items()}, **FEW)) == []


def test_a_model_beside_itself_on_purpose_is_no_finding(five):
    one = five["run a"]
    assert kinds(hl.diagnose(one, **FEW)) == []
    assert kinds(hl.diagnose(one, one, **FEW)) == []
    assert "equal_layers" not in hl.compare(one, one, pairs="same_name", measures="cka").attrs
    assert kinds(hl.diagnose({"one": one}, **FEW)) == []


def test_rounding_is_that_of_the_coarser_type():
    x = np.random.default_rng(0).normal(size=(500, 7))
    x[:, 0] *= 1e4  # a feature that outweighs the others hides nothing
    assert are_equal(x.astype("float32"), x)
    assert are_equal(x.astype("float16").astype("float32"), x.astype("float16").astype("float64"))
    assert not are_equal(x, x + np.array([0, *[1e-6] * 6]))
    assert not are_equal(x.astype("float32"), x + np.array([0, *[1e-2] * 6]))
    assert not are_equal(x, x[:, :6])
    assert not are_equal(np.ones((9, 2)), np.ones((9, 2)))  # says nothing of who made it
    assert are_equal(torch.from_numpy(x), torch.from_numpy(x.copy()))


def test_layers_of_other_names_are_looked_at_in_order_and_the_input_is_no_layer():
    x = np.random.default_rng(0).normal(size=(4, 50, 3))
    (found,) = equal_models({"a": {"0": x[0], "1": x[1]}, "b": {"first": x[0].copy(), "second": x[2]}})
    assert (found.equal, found.compared, found.whole) == (("0",), 2, False)
    assert not list(equal_models({"a": {"input": x[0], "1": x[1]}, "b": {"input": x[0], "1": x[2]}}))
    assert not list(equal_models({"a": {"0": x[0], "1": x[1]}, "b": {"first": x[0]}}))
    assert kinds(hl.diagnose(x[0], x[0].copy(), **FEW)) == [("same network", "a and b")]


def test_layers_on_disk_are_looked_at_too(five, tmp_path):
    for name in ("run b", "run d", "run a"):
        hl.save(five[name], tmp_path / f"{name}.zarr")
    result = hl.compare(
        {name: hl.open(tmp_path / f"{name}.zarr") for name in ("run b", "run d", "run a")}, measures="cka"
    )
    assert "run b and run d are the same network" in str(hl.summary(result))


def test_findings_of_many_models_are_of_pairs_and_of_each_once():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(200, 6))

    def layers(names):
        return {name: factors @ rng.normal(size=(6, 24)) + 0.3 * rng.normal(size=(200, 24)) for name in names}

    models = {"one": layers("pq"), "two": layers("pq"), "three": layers("rst"), "shuffled": layers("pq")}
    assert not list(hl.diagnose({name: models[name] for name in ("one", "two", "three")}, **FEW))
    models["shuffled"] = {name: x[rng.permutation(200)] for name, x in models["shuffled"].items()}
    models["two"]["q"][:, 3] = 0
    found = hl.diagnose(models, **FEW)
    assert [(each.kind, each.where) for each in found] == [
        ("pairing", "one and shuffled"),
        ("pairing", "two and shuffled"),
        ("pairing", "three and shuffled"),
        ("dead features", "two: q"),
    ]
    assert found.result.sizes["a"] == 9
    # The pairs that count: of the same name, or all of two models without a name in common.
    known = ~np.isnan(found.result["cka"].values)
    assert known.sum() == 2 * (3 * 2 + 3 * 6)
    two = hl.diagnose(models["one"], models["two"], **FEW)
    assert [each.kind for each in two] == ["dead features"]


def test_four_copies_are_named_together(five):
    copies = {name: five["run b"] for name in "abcd"} | {"other": five["run a"]}
    told = [line for line in hl.summary(hl.compare(copies, measures="cka")) if "same network" in line]
    assert len(told) == 1
    assert told[0].startswith("a, b, c and d are the same network")


def test_copies_are_named_of_models_as_wholes_too(five, tmp_path):
    similar = hl.model_similarity(hl.compare(five, measures="cka"))
    assert "run b and run d are the same network" in str(hl.summary(similar))
    similar.to_netcdf(tmp_path / "similar.nc")
    assert xarray.load_dataset(tmp_path / "similar.nc").identical(similar)
    copies = pytest.warns(hl.FewModelsWarning, match="run b and run d; copies")
    with pytest.warns(hl.FewModelsWarning, match="no difference"), copies:
        hl.permanova(similar, list("aabbb"))


def test_layers_that_hand_on_the_input_are_said_to_count(rng):
    data = rng.normal(size=(60, 5)).astype("float32")
    models = {name: {"0": data, "1": data @ rng.normal(size=(5, 4)), "2": rng.normal(size=(60, 3))} for name in "abc"}
    result = hl.compare(models, measures="cka(estimator=debiased)")
    told = "3 pairs of models have equal layers (0): as the input of the models is, or what was not changed"
    assert told in str(hl.summary(result))
    with pytest.warns(hl.EqualLayersWarning, match="^0: equal to rounding in 3 pairs of models, as the input"):
        similar = hl.model_similarity(result)
    assert "raises their similarity as wholes" in str(hl.summary(similar))
    without = {name: {k: x for k, x in layers.items() if k != "0"} for name, layers in models.items()}
    hl.model_similarity(hl.compare(without, measures="cka(estimator=debiased)"))  # warns of nothing


def with_flatten(seed, width=8):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, width), torch.nn.Tanh())


@pytest.fixture(scope="module")
def flattened():
    """Four networks that begin with the input itself; c and d are one network, and b has a convolution in its place."""
    images = torch.randn(60, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(9)
    other = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 8), torch.nn.Tanh())
    networks = {"a": with_flatten(0), "b": other, "c": with_flatten(2), "d": with_flatten(2)}
    return {name: hl.extract(network, images) for name, network in networks.items()}


@pytest.mark.parametrize("by", ["best_match", "same_name", "max", "assignment"])
def test_a_layer_that_is_the_input_counts_in_no_similarity_of_models(flattened, by):
    asked = {"measures": DEBIASED, "calibrate": True, "interval": True, "n_permutations": 39}
    with pytest.warns(hl.LeftOutWarning, match="^0 of a, c, d is the input itself.*with_input=True counts it"):
        found = hl.model_similarity(hl.compare(flattened, **asked), by=by)
    own = {name: layers if name == "b" else layers.select(["1", "2"]) for name, layers in flattened.items()}
    expected = hl.model_similarity(hl.compare(own, **asked), by=by)
    for name in expected.data_vars:  # chance and errors too, which compare judged
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12, err_msg=name)
    assert found[DEBIASED].sel(model_a="c", model_b="d") == pytest.approx(1)
    assert found[DEBIASED].sel(model_a="a", model_b="c") < 0.9
    assert "c and d are the same network" in str(hl.summary(found))


def test_the_input_is_counted_where_it_is_asked_for_or_all_there_is(flattened, tmp_path):
    result = hl.compare(flattened, measures=DEBIASED, null="permutation", n_permutations=19)
    with pytest.warns(hl.LeftOutWarning, match="other layers than were compared"):
        counted = hl.model_similarity(result, by="max", with_input=True)
    assert counted[DEBIASED].sel(model_a="a", model_b="c") == pytest.approx(1)
    assert np.isnan(counted[f"{DEBIASED}_p"].sel(model_a="a", model_b="c"))
    alone = hl.compare({name: flattened[name].select("0") for name in "ac"}, measures=DEBIASED)
    assert hl.model_similarity(alone)[DEBIASED].values == pytest.approx(np.ones((2, 2)))
    result.to_netcdf(tmp_path / "result.nc")
    with pytest.warns(hl.LeftOutWarning, match="input itself"):
        assert hl.model_similarity(xarray.load_dataset(tmp_path / "result.nc"))[DEBIASED][0, 2] < 0.9


@pytest.mark.parametrize("broken", ["[", "[1]", '{"a": 3}', '{"z": ["0"]}', "1"])
def test_an_altered_list_of_inputs_is_as_none(flattened, broken):
    result = hl.compare({name: flattened[name] for name in "abc"}, measures=DEBIASED).assign_attrs(input_layers=broken)
    assert hl.model_similarity(result, by="max")[DEBIASED][0, 2] == pytest.approx(1)


def test_the_input_of_a_model_is_told_as_such_and_is_no_unchanged_layer(flattened):
    three = {name: flattened[name] for name in "abc"}
    told = str(hl.summary(hl.compare(three, measures=DEBIASED)))
    assert (
        "0 of a, c is the input itself: values there say nothing of the models, and one number "
        "for each pair of models leaves it out." in told
    )
    assert "not changed" not in told + str(hl.diagnose(three, **FEW))
    a, c = (flattened[name].select("0") for name in "ac")
    assert "same network" not in str(hl.diagnose(a, c, **FEW))


def test_only_rows_that_are_all_the_input_are_the_input(flattened):
    layers = flattened["a"]
    assert input_layers(layers) == ["0"]
    changed = np.array(layers["0"])
    changed[-1, -1] += 1  # the last of many rows tells
    own = hl.Activations({"0": changed, "input": changed, "1": layers["1"]}, digests=layers.digests)
    assert input_layers(own) == ["input"]  # as extraction calls it
    assert input_layers({"0": np.asarray(layers["0"])}) == []  # plain arrays: nothing says what the input was


def test_one_layer_shared_by_two_architectures_is_no_network():
    """A frozen stem says nothing of the layers that only one of the two has."""
    x = np.random.default_rng(0).normal(size=(6, 60, 5))
    small = {"stem": x[0], "body": x[1]}
    large = {"stem": x[0].copy(), "block 1": x[2], "block 2": x[3]}
    (finding,) = [
        each for each in hl.diagnose(small, large, **FEW) if each.kind in ("same network", "unchanged layers")
    ]
    assert finding.kind == "unchanged layers"
    shared = "the one layer that both have is equal to rounding (stem), and each has layers that the other lacks"
    assert finding.message == f"{shared}: it was not changed between the two"
    result = hl.compare(small, large, names=("small", "large"), measures="cka")
    said = str(hl.summary(result))
    assert (
        f"Of small and large {shared}: it was not changed between the two, and its value says so and no more." in said
    )
    assert "same network" not in said
    two = [models | {"second": x[4].copy()} for models in (small, large)]
    assert "all 2 layers that both have are equal to rounding (stem, second)" in str(hl.diagnose(*two, **FEW))
    # Fewer layers taken of one of the two are all that there is to look at.
    assert kinds(hl.diagnose({"stem": x[0].copy()}, large, **FEW)) == [("same network", "a and b")]


def test_a_dead_layer_of_a_copy_does_not_hide_it():
    x = np.random.default_rng(0).normal(size=(3, 60, 5))
    one = {"early": x[0], "dead": np.zeros((60, 4)), "late": x[1]}
    copy = {name: layer.copy() for name, layer in one.items()}
    found = hl.diagnose(one, copy, **FEW)
    assert kinds(found) == [("same network", "a and b")]
    assert "all 2 layers are equal to rounding" in str(found)
    (equal,) = equal_models({"a": one, "b": copy | {"dead": copy["dead"] + 1}})
    assert (equal.compared, equal.whole) == (3, False)  # constants that differ are a difference
    (equal,) = equal_models({"a": one, "b": copy | {"dead": x[2, :, :4]}})
    assert (equal.compared, equal.whole) == (3, False)
    assert not list(equal_models({"a": {"dead": one["dead"]}, "b": {"dead": copy["dead"]}}))
