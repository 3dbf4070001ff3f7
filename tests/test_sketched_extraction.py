"""Sketches of layers: extracted in the hook, kept in memory, in stores and in files, and refused where they tell nothing."""

import json
import subprocess
import sys
from pathlib import Path

import memory_growth
import numpy as np
import pytest
import torch
from conftest import command_line

import homolog as hl
from homolog.sketching import Projection, Sketch, SketchedRows

CKA = "cka(estimator=debiased)"
REFUSED = r"layer '(0|2)'.* is kept as two sketches, from which compare estimates cka and hsic"


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 16, 3, padding=1, stride=2),
        torch.nn.Flatten(),
        torch.nn.Linear(16 * 64, 10),
    )


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def images():
    drawn = torch.Generator().manual_seed(1)
    return torch.randn(80, 1, 1, 1, generator=drawn) + torch.randn(80, 3, 16, 16, generator=drawn)


@pytest.fixture(scope="module")
def sketched(model, images):
    return hl.extract(model, images, sketch=64, rng=3, batch_size=20)


def kept(layers):
    """What is kept of every layer, as arrays."""
    return {name: np.asarray(x.columns if isinstance(x, SketchedRows) else x[:]) for name, x in layers.items()}


def assert_same(first, second):
    assert first.sketches == second.sketches
    assert list(first) == list(second)
    for name, columns in kept(first).items():
        np.testing.assert_array_equal(columns, kept(second)[name])


def test_sketches_are_the_projections_of_each_batch(model, images, sketched):
    whole = hl.extract(model, images, batch_size=20)
    assert sketched.sketches == {name: Sketch(name, whole[name].shape[1], 64, 3) for name in "0123"}
    np.testing.assert_array_equal(sketched["4"], whole["4"])  # no wider than both sketches
    for name, sketch in sketched.sketches.items():
        parts = torch.from_numpy(whole[name]).split(20)
        expected = torch.cat([Projection(sketch).of(part) for part in parts])
        np.testing.assert_array_equal(sketched[name].kept, expected.numpy())
        assert sketched[name].shape == whole[name].shape
    assert_same(sketched, hl.extract(model, images, sketch=64, rng=3, batch_size=20))


def test_other_batches_differ_by_rounding(model, images, sketched):
    other = kept(hl.extract(model, images, sketch=64, rng=3, batch_size=33))
    for name, columns in kept(sketched).items():
        np.testing.assert_allclose(other[name], columns, atol=1e-5 * np.abs(columns).max())


def test_globs_say_of_each_layer_what_is_kept(model, images):
    found = hl.extract(model, images, sketch={"0": None, "1": np.int64(32), "*": 128}, reduce={"2": "mean"})
    assert {name: sketch.columns for name, sketch in found.sketches.items()} == {"1": 32, "3": 128}
    assert found["2"].shape == (80, 16)  # reduced before it is sketched, and then narrow enough
    with pytest.raises(KeyError, match="unknown layer 'zero'"):
        hl.extract(model, images, sketch={"zero": 64})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"sketch": 100}, "sketch must be a multiple of 16, .* got 100: 512 is a good start"),
        ({"sketch": {"0": "64"}}, "sketch of layer '0' must be a multiple of 16, .* got '64': 512"),
        ({"sketch": "512"}, "got '512': 512 is a good start"),
        ({"sketch": True}, "sketch must be a multiple of 16"),
        (
            {"sketch": 64, "rng": -1},
            "rng must be the seed of the sketches, a whole number of at least 0, got -1: leave it out",
        ),
        ({"sketch": 64, "rng": np.random.default_rng(0)}, "rng must be the seed of the sketches"),
    ],
)
def test_what_is_no_number_of_columns_or_no_seed_is_refused(model, images, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        hl.extract(model, images, **given)


@pytest.mark.parametrize("library", ["numpy", "jax"])
def test_outputs_of_functions_are_sketched_in_their_library(library):
    xp = np if library == "numpy" else pytest.importorskip("jax.numpy")
    x = np.random.default_rng(0).normal(size=(30, 40)).astype(np.float32)
    weights = np.random.default_rng(1).normal(size=(40, 700)).astype(np.float32)

    def function(batch):
        return {"wide": xp.asarray(batch) @ xp.asarray(weights), "whole": xp.asarray(batch)}

    found = hl.extract(function, x, sketch=32, batch_size=8)
    assert list(found.sketches) == ["wide"]
    expected = Projection(found.sketches["wide"]).of(x @ weights)
    np.testing.assert_allclose(found["wide"].kept, expected, atol=1e-4 * np.abs(expected).max())


def test_integers_keep_their_digits_and_half_precision_becomes_single():
    numbers = 2**30 + np.arange(60 * 100).reshape(60, 100)
    found = hl.extract(lambda batch: {"x": batch}, numbers, sketch=16)
    assert found["x"].dtype == np.float64
    np.testing.assert_allclose(found["x"].kept, Projection(found["x"].sketch).of(numbers.astype(float)), rtol=1e-12)
    small = hl.extract(lambda batch: {"x": batch}, np.ones((6, 100), np.float16), sketch=16, dtype="float16")
    assert small["x"].dtype == np.float16


@pytest.mark.parametrize("size", [1, 7, 30])
def test_digits_that_sketches_do_not_keep_are_told_and_kept_in_float64(size):
    drawn = np.random.default_rng(0)
    shared = drawn.normal(size=(30, 4)) @ drawn.normal(size=(4, 500))
    x = (1e4 + 0.009 * shared).astype(np.float32)
    given = {"sketch": 64, "batch_size": size, "layers": "x", "axis": 0}
    exact = Projection(Sketch("x", 500, 64, 0)).of(x.astype(float))
    with pytest.warns(
        hl.ExtractionWarning, match=r"x: the examples differ by so small a part .* in float32 hardly keep"
    ):
        found = hl.extract(lambda batch: {"x": batch}, x, **given)["x"].kept
    assert np.abs(found - exact).max() > 1e-4
    kept = hl.extract(lambda batch: {"x": batch}, x, dtype="float64", **given)["x"].kept
    np.testing.assert_allclose(kept, exact, rtol=1e-12)
    # Offsets as networks have them, features that are constant, and one example are no reason for a warning.
    for plain in (x - 1e4 + 5, np.full_like(x, 3), x[:1].repeat(2, axis=0)):
        hl.extract(lambda batch: {"x": batch}, plain, **given)


@pytest.mark.parametrize("mixed", [slice(None), slice(0, 1), slice(20_000, 30_000)])
def test_wide_layers_whose_rows_are_no_examples_are_found_out(mixed):
    """Of layers that are sketched part of the features is looked at, which includes both ends."""

    def function(batch):
        wide = np.repeat(batch, 300, axis=1)
        wide[:, mixed] -= wide[:, mixed].mean(axis=0)
        return {"wide": wide, "fine": batch}

    x = np.random.default_rng(0).normal(size=(30, 100))
    with pytest.raises(ValueError, match="its rows change with the other examples of the batch"):
        hl.extract(function, x, layers="wide", sketch=16)
    with pytest.warns(hl.ExtractionWarning, match="wide .its rows change with the other examples"):
        assert list(hl.extract(function, x, sketch=16)) == ["fine"]
    with pytest.raises(ValueError, match="it has more features the more examples there are"):
        hl.extract(lambda batch: {"all": np.tile(batch.reshape(1, -1), (len(batch), 4))}, x, layers="all", sketch=16)


def test_a_layer_whose_width_changes_is_refused():
    batches = [np.ones((4, 100)) + np.arange(4)[:, None], np.ones((4, 120))]
    with pytest.raises(ValueError, match=r"layer 'x' must have as many features in every batch \(100 .* got 120"):
        hl.extract(lambda batch: {"x": batch}, batches, layers="x", sketch=16)


def test_a_store_holds_the_same_and_is_resumed(tmp_path, model, images, sketched):
    given = {"sketch": 64, "rng": 3, "batch_size": 20}
    stored = hl.extract(model, images, out=tmp_path / "whole.zarr", **given)
    assert_same(stored, sketched)

    def stopping():
        yield from images[:60].split(20)
        raise KeyboardInterrupt

    path = tmp_path / "resumed.zarr"
    with pytest.raises(KeyboardInterrupt):
        hl.extract(model, stopping(), out=path, **given)
    for other, what in (({"sketch": 32}, "sketch 64"), ({"sketch": None}, "sketch 64"), ({"rng": 4}, "rng 3")):
        with pytest.raises(ValueError, match=f"as it was begun, with {what}"):
            hl.extract(model, images, out=path, resume=True, **(given | other))
    assert_same(hl.extract(model, iter(images.split(20)), out=path, resume=True, **given), sketched)
    assert hl.open(path).provenance["sketch"] == "64 columns in each of two; seed 3"


@pytest.mark.parametrize(
    ("begun", "continued"),
    [
        (64, {"**": 64}),
        ({"**": 64}, np.int64(64)),
        (64, {"1": 64, "**": 64, "2": 32}),
        ({"0": 64}, {"0": 64, "1": None, "**": None}),
        (None, {"0": None}),
    ],
)
def test_a_store_is_continued_by_rules_that_mean_the_same(tmp_path, model, images, begun, continued):
    given = {"out": tmp_path / "x.zarr", "batch_size": 20, "rng": 3}
    first = hl.extract(model, images[:40], max_examples=20, sketch=begun, **given)
    found = hl.extract(model, images[:40], sketch=continued, resume=True, **given)
    assert found.sketches == first.sketches
    assert found.n == 40
    assert found.provenance.get("sketch") == first.provenance.get("sketch")


def test_rules_that_mean_something_else_begin_another_store(tmp_path, model, images):
    given = {"out": tmp_path / "x.zarr", "batch_size": 20}
    hl.extract(model, images[:40], max_examples=20, sketch={"0": 64, "*": 32}, **given)
    with pytest.raises(ValueError, match=r"with sketch 0: 64, \*: 32, all else: none, got sketch \*: 32, 0: 64"):
        hl.extract(model, images[:40], sketch={"*": 32, "0": 64, "**": None}, resume=True, **given)


def test_checkpoints_are_compared_by_their_features(model, images):
    with pytest.raises(
        TypeError, match=r"compare_checkpoints compares the features themselves, .* got sketch=: leave it"
    ):
        hl.compare_checkpoints(model, {1: model, 2: model}, images, sketch=64)


def test_a_store_of_before_is_continued_without_sketches(tmp_path, model, images):
    path = tmp_path / "begun.zarr"
    hl.extract(model, images[:40], out=path, max_examples=20)
    about = json.loads((path / "zarr.json").read_text())
    for name in ("sketch", "rng"):
        del about["attributes"]["request"][name]
    (path / "zarr.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="sketch by default, got sketch 64"):
        hl.extract(model, images[:40], out=path, resume=True, sketch=64)
    assert hl.extract(model, images[:40], out=path, resume=True).n == 40


def test_a_store_is_not_continued_with_a_layer_of_another_width(tmp_path):
    def function(batch):
        return {"x": np.tile(batch, repeats[0])}

    repeats, path = [10], tmp_path / "x.zarr"
    x = np.random.default_rng(0).normal(size=(2000, 10))
    batches = np.split(x, 2)
    given = {"out": path, "sketch": 16, "layers": "x"}
    hl.extract(function, batches, max_examples=1000, **given)
    about = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(about.replace(", 100 features", ", 90 features"))
    with pytest.raises(ValueError, match=r'the layers it holds, got others \(first .x ~sketch of "x", 90 features'):
        hl.extract(function, batches, resume=True, **given)


@pytest.mark.filterwarnings("ignore::homolog.SketchNoiseWarning")  # few examples, few columns
def test_an_estimate_is_as_near_as_it_says(model, images, sketched):
    whole = hl.extract(model, images)
    exact = hl.compare(whole, measures=CKA)[CKA]
    for result in (hl.compare(sketched, whole, measures=CKA), hl.compare(sketched, measures=CKA)):
        off = np.abs(result[CKA].values - exact.values)
        assert np.all(off <= 4 * result[f"{CKA}_se_sketch"].values + 1e-6)


@pytest.mark.filterwarnings("ignore::homolog.SketchNoiseWarning")  # few examples, few columns
def test_a_result_says_what_is_sketched(tmp_path, model, images, sketched):
    whole = hl.extract(model, images)
    result = hl.compare(sketched, whole, measures=CKA, names=("a", "b"))
    assert result.features_a.values.tolist() == [2048, 2048, 1024, 1024, 10]
    assert result.sketch_a.values.tolist() == [64, 64, 64, 64, 0]
    assert result.sketch_b.values.tolist() == [0] * 5
    assert json.loads(result.attrs["sketch_seeds"]) == {"a": [3]}
    assert "sketch_a" not in hl.compare(whole, measures=CKA).coords
    told = "Of 4 of 10 layers only two sketches are kept, of 64 columns: values are estimates, with"
    assert sum(line.startswith(told) for line in hl.summary(result)) == 1
    assert {"sketch_a", "se_sketch"} <= set(hl.table(result))
    hl.report(result, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "4 of 10, two of 64 columns each" in page
    assert "kept as two sketches of 64 columns: a: 0, a: 1, a: 2, a: 3" in str(hl.plan(sketched, whole))
    assert repr(sketched).endswith("4: 10; 4 of them kept as sketches>")
    assert "two sketches of 64 columns" in sketched._repr_html_()


REQUESTS = {
    "probe": lambda x, layer: hl.probe(x, np.arange(x.n) % 3),
    "redundancy": lambda x, layer: hl.redundancy(x, labels=np.arange(x.n) % 3),
    "diagnose": lambda x, layer: hl.diagnose(x),
    "check": lambda x, layer: hl.check(x, x, at_least="cka=0.5"),
    "explain_cka": lambda x, layer: hl.explain_cka(layer, layer),
    "shared_subspace": lambda x, layer: hl.shared_subspace(layer, layer),
    "cka": lambda x, layer: hl.cka(layer, layer),
    "confidence_interval": lambda x, layer: hl.confidence_interval(layer, layer),
    "permutation_test": lambda x, layer: hl.permutation_test(layer, layer),
    "split_half": lambda x, layer: hl.split_half(x),
    "another measure": lambda x, layer: hl.compare(x, measures="rsa"),
    "another kernel": lambda x, layer: hl.compare(x, measures="cka(kernel=rbf)"),
    "a function": lambda x, layer: hl.compare(x, measures=lambda x, y: 1.0),
    "moments": lambda x, layer: hl.Moments().update(x),
    "minibatches": lambda x, layer: hl.MinibatchHSIC().update(x),
    "checkpoints": lambda x, layer: hl.compare_checkpoints(None, {1: x, 2: x}, None),
    "numpy": lambda x, layer: np.asarray(layer),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_what_sketches_do_not_tell_is_refused(sketched, what):
    with pytest.raises((ValueError, TypeError), match=REFUSED):
        REQUESTS[what](sketched, sketched["0"])


def test_rows_are_put_into_one_order(sketched):
    first, second = hl.common_rows(sketched.take([5, 2, 9]), sketched.take([9, 7, 2, 5]))
    assert_same(first, sketched.take([5, 2, 9]))
    assert_same(second, sketched.take([5, 2, 9]))


def test_the_command_line_extracts_sketches(tmp_path):
    (tmp_path / "sketched_net.py").write_text(
        "import numpy as np\n"
        "def model():\n    return lambda batch: {'wide': batch ** 2, 'other': batch + 1, 'narrow': batch[:, :9]}\n"
        "def data():\n    return np.random.default_rng(0).normal(size=(12, 300))\n"
    )

    def run(*arguments):
        return command_line(arguments, tmp_path)

    extract = ("extract", "sketched_net.py:model", "--data", "sketched_net.py:data", "--out")
    assert run(*extract, "a.zarr", "--sketch", "32", "--sketch", "other=16", "--seed", "5")[0] == 0
    found = hl.open(tmp_path / "a.zarr").sketches
    assert found == {"wide": Sketch("wide", 300, 32, 5), "other": Sketch("other", 300, 16, 5)}
    told = run("info", "a.zarr")[1]
    assert "wide\t300\tfloat64\ttwo sketches of 32 columns" in told
    assert "sketch\tcolumns in each of two, by layer: other: 16, all else: 32; seed 5" in told
    status, _, told = run(*extract, "a.zarr", "--sketch", "32", "--sketch", "other=16", "--seed", "4", "--resume")
    assert status == 2
    assert "with --seed 5, got --seed 4" in told
    status, _, told = run(*extract, "b.npz", "--sketch", "many")
    assert status == 2
    assert "--sketch must be a multiple of 16, the columns of each of two sketches, got 'many'" in told
    status, _, told = run(*extract, "b.npz", "--sketch", "32", "--seed", "-1")
    assert status == 2
    assert "--seed must be the seed of the sketches, a whole number of at least 0, got -1" in told
    assert run(*extract, "b.npz", "--sketch", "other=none", "--sketch", "64")[0] == 0
    assert list(hl.open(tmp_path / "b.npz").sketches) == ["wide"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_features_of_all_examples():
    script = Path(__file__).with_name("sketching_memory.py")
    if not memory_growth.FORGET.exists():
        pytest.skip("resident memory is read, and its peak forgotten, through /proc/self, which is not here")
    ran = subprocess.run(
        [sys.executable, "-P", str(script)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{script.parent}:{script.parent.parent / 'src'}", "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    # Of 800,000 features, in batches of 16: a batch alone takes 49 MiB, all examples would take 488 MiB.
    assert int(ran.stdout) < 300 << 20
