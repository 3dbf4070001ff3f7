"""`hl.extract` of a function: whatever runs can be extracted, with all that modules have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

import homolog as hl

EXAMPLES = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
TOKENS = np.random.default_rng(2).normal(size=(12, 7, 4)).astype(np.float32)
MAPS = np.random.default_rng(3).normal(size=(10, 3, 4, 5)).astype(np.float32)


def hidden_and_output(batch):
    hidden = np.tanh(batch @ WEIGHTS)
    return {"hidden": hidden, "output": hidden.sum(axis=1)}


# --- What a function may return


def test_layers_come_in_the_order_and_with_the_values_of_the_function():
    found = hl.extract(hidden_and_output, EXAMPLES, batch_size=16)
    assert list(found) == ["hidden", "output"]
    np.testing.assert_array_equal(found["hidden"], np.tanh(EXAMPLES @ WEIGHTS))
    assert found["output"].shape == (40, 1)
    assert found.provenance["model"] == "hidden_and_output"


def test_one_array_is_the_layer_output_and_pairs_come_one_after_the_other():
    assert list(hl.extract(lambda batch: batch @ WEIGHTS, EXAMPLES)) == ["output"]

    def one_by_one(batch):
        yield "first", batch
        yield "first", batch + 1

    found = hl.extract(one_by_one, EXAMPLES)
    assert list(found) == ["first", "first#2"]
    np.testing.assert_array_equal(found["first#2"], EXAMPLES + 1)


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_arrays_of_any_library_give_the_same_rows_with_the_same_digests(library):
    jax = pytest.importorskip("jax")
    make = {"numpy": np.asarray, "torch": torch.as_tensor, "jax": jax.numpy.asarray}[library]
    found = hl.extract(lambda batch: {"twice": 2 * batch}, make(EXAMPLES), batch_size=16)
    assert type(found["twice"]) is np.ndarray
    np.testing.assert_array_equal(found["twice"], 2 * EXAMPLES)
    module = hl.extract(torch.nn.Identity(), torch.as_tensor(EXAMPLES))
    np.testing.assert_array_equal(found.digests, module.digests)


def test_half_precision_and_whole_numbers_are_kept_as_numbers():
    found = hl.extract(
        lambda batch: {
            "half": torch.as_tensor(batch).to(torch.bfloat16),
            "float16": batch.astype(np.float16),
            "counts": (batch > 0).astype(np.int64),
        },
        EXAMPLES,
    )
    assert [found[name].dtype for name in found] == [np.float32, np.float32, np.int64]


@pytest.mark.parametrize(
    ("returned", "error", "words"),
    [
        ({}, ValueError, "at least one layer, got an empty mapping"),
        ("text", TypeError, "a mapping of layer names to arrays .*, got a str"),
        ({1: EXAMPLES}, TypeError, "name its layers by text, got 1"),
        ({"input": EXAMPLES}, ValueError, "must not call a layer 'input'"),
        ({"x": "text"}, ValueError, "no layer puts out rows that are the examples, got x \\(no tensor, but a str\\)"),
        ({"x": np.zeros((3, 2))}, ValueError, "got x \\(shape \\(3, 2\\)\\)"),
        ({"x": np.ma.masked_array(EXAMPLES, EXAMPLES > 1)}, ValueError, "a masked array, whose mask would be ignored"),
        ({"x": np.zeros((40, 2), dtype=complex)}, ValueError, "complex128 values"),
        ({"x": np.zeros(40, dtype=int)}, ValueError, r"x \(whole numbers of one axis, as of classes\)"),
        (np.zeros(40, dtype=bool), ValueError, r"output \(whole numbers of one axis, as of classes\)"),
        (np.array(["cat"] * 40), ValueError, r"output \(an array of text\)"),
        (scipy.sparse.csr_matrix(EXAMPLES), ValueError, r"a csr_matrix, which \.toarray\(\) makes dense"),
    ],
)
def test_what_is_no_layer_is_refused_in_one_sentence(returned, error, words):
    with pytest.raises(error, match=words):
        hl.extract(lambda batch: returned, EXAMPLES)


def test_all_layers_that_a_function_does_not_give_are_named():
    with pytest.raises(
        KeyError, match=r"unknown layer 'a': the layers are hidden, output; unknown, too, are 'b', 'c'\."
    ):
        hl.extract(hidden_and_output, EXAMPLES, layers=["c", "hidden", "a", "b"])


@pytest.mark.parametrize("data", ["x.npy", Path("x.npy")])
def test_the_name_of_a_file_is_no_data(data):
    with pytest.raises(TypeError, match=r"got 'x.npy': if this names a file, read it, as numpy.load does"):
        hl.extract(lambda batch: {"x": batch}, data)


def test_what_is_inside_each_other_is_layers_with_dots():
    def run(batch):
        return {
            "hidden_states": (batch, batch + 1),
            "parts": {"mlp": batch + 2, "heads": [batch + 3]},
            "loss": batch.sum(),
        }

    with pytest.warns(UserWarning, match=r"loss \(no tensor, but a float32\)"):
        found = hl.extract(run, EXAMPLES)
    assert list(found) == ["hidden_states.0", "hidden_states.1", "parts.mlp", "parts.heads.0"]
    np.testing.assert_array_equal(found["parts.heads.0"], EXAMPLES + 3)


def test_lists_of_numbers_and_of_one_vector_for_each_example_are_arrays():
    def run(batch):
        return {
            "numbers": batch[:, 0].tolist(),
            "rows": batch.tolist(),
            "vectors": list(torch.as_tensor(batch)),
        }

    found = hl.extract(run, EXAMPLES)
    assert [found[name].shape for name in found] == [(40, 1), (40, 6), (40, 6)]
    np.testing.assert_array_equal(found["vectors"], EXAMPLES)
    assert hl.extract(lambda batch: batch.tolist(), EXAMPLES)["output"].shape == (40, 6)
    with pytest.raises(ValueError, match="a list of 6 vectors of 6 numbers, which could be examples or layers"):
        hl.extract(lambda batch: {"x": list(batch)}, EXAMPLES[:6])
    with pytest.raises(ValueError, match="layer 'x' must hold as many numbers for every example"):
        hl.extract(lambda batch: {"x": [[1.0] * (1 + i % 2) for i in range(len(batch))]}, EXAMPLES)


# --- The same reductions, masks and axes


@pytest.mark.parametrize("reduce", ["flatten", "mean", "first", "last", "positions"])
def test_reductions_are_those_of_modules(reduce):
    by_module = hl.extract(torch.nn.Identity(), torch.as_tensor(TOKENS), reduce=reduce, layers="output")
    by_function = hl.extract(lambda batch: {"output": np.array(batch)}, TOKENS, reduce=reduce)
    np.testing.assert_allclose(by_function["output"], by_module["output"], rtol=1e-6)
    assert (by_function.positions is None) == (by_module.positions is None)


@pytest.mark.parametrize("reduce", ["mean", "first", "last", "positions"])
@pytest.mark.parametrize("way", ["of the batch", "of the layer", "named", "function"])
def test_masks_leave_padding_out_whoever_says_it(reduce, way):
    mask = np.arange(7)[None] < np.array([7, 3, 5, 2] * 3)[:, None]
    spoilt = np.where(mask[:, :, None], TOKENS, 99)
    expected = hl.extract(
        torch.nn.Identity(), [torch.as_tensor(spoilt)], reduce=reduce, mask=lambda batch: torch.as_tensor(mask)
    )
    data = {"tokens": spoilt, "attention_mask" if way == "of the batch" else "kept": mask.astype(int)}

    def run(batch):
        own = batch["kept"] if way == "of the layer" else None
        return {"tokens": hl.Layer(batch["tokens"] * 1, mask=own)}

    rule = {"named": "kept", "function": lambda batch: batch["kept"]}.get(way)
    found = hl.extract(run, data, reduce=reduce, mask=rule, batch_size=12)
    np.testing.assert_allclose(found["tokens"], next(iter(expected.values())), rtol=1e-6)


def test_padding_that_nobody_tells_of_is_warned_of():
    ids = np.array([[5, 6, 7, 0, 0], [4, 3, 2, 8, 9], [1, 2, 0, 0, 0], [3, 9, 4, 1, 0]])
    with pytest.warns(UserWarning, match="which looks like padding"):
        hl.extract(lambda batch: {"embedded": np.eye(10)[batch]}, ids, reduce="mean")


def test_a_kind_says_what_the_axes_are():
    found = hl.extract(
        lambda batch: {"whole": hl.Layer(batch * 1, kind="features"), "mean": hl.Layer(batch * 1, kind="tokens")},
        TOKENS,
        reduce="mean",
    )
    assert [found[name].shape for name in found] == [(12, 28), (12, 4)]
    with pytest.raises(ValueError, match="must have 3 axes as tokens"):
        hl.extract(lambda batch: {"x": hl.Layer(batch, kind="tokens")}, EXAMPLES)
    with pytest.raises(
        ValueError, match="the kind of a layer must be one of features, tokens, maps, or None, got 'map'"
    ):
        hl.Layer(EXAMPLES, kind="map")


def test_where_the_channels_of_maps_are_must_be_said():
    def run(batch):
        return {"maps": batch * 1}

    with pytest.raises(ValueError, match="say where the channels are with channels="):
        hl.extract(run, MAPS, reduce="mean")
    first = hl.extract(run, MAPS, reduce="mean", channels="first")
    last = hl.extract(lambda batch: run(np.moveaxis(batch, 1, -1)), MAPS, reduce="mean", channels="last")
    np.testing.assert_allclose(first["maps"], MAPS.mean((2, 3)), rtol=1e-5)
    np.testing.assert_allclose(last["maps"], MAPS.mean((2, 3)), rtol=1e-5)
    assert hl.extract(run, MAPS)["maps"].shape == (10, 60)  # nothing to know


def test_a_reduction_of_ones_own_is_given_arrays_of_the_library():
    seen = []

    def last(output, mask):
        seen.append((type(output), type(mask)))
        return output[:, -1]

    data = {"tokens": TOKENS, "attention_mask": np.ones((12, 7), dtype=int)}
    hl.extract(lambda batch: {"x": batch["tokens"] * 1}, data, reduce=last)
    hl.extract(lambda batch: {"x": torch.as_tensor(batch["tokens"])}, data, reduce=last)
    assert set(seen) == {(np.ndarray, np.ndarray), (torch.Tensor, torch.Tensor)}


# --- The same proof


def test_layers_that_do_not_follow_the_examples_are_left_out_or_refused():
    def run(batch):
        return {"plain": batch * 1, "centred": batch - batch.mean(axis=0), "turned": batch[::-1]}

    with pytest.warns(UserWarning, match=r"centred \(its rows change with the other examples of the batch\)"):
        found = hl.extract(run, EXAMPLES)
    assert list(found) == ["plain"]
    with pytest.raises(ValueError, match="layer 'turned' must have the examples along its first axis"):
        hl.extract(run, EXAMPLES, layers=["turned"])


def test_examples_on_another_axis_are_taken_where_it_is_said():
    found = hl.extract(lambda batch: {"x": np.moveaxis(batch, 0, 1)}, TOKENS, axis=1, reduce="mean")
    np.testing.assert_allclose(found["x"], TOKENS.mean(1), rtol=1e-6)


def test_a_function_of_one_size_of_batch_is_tried_in_other_orders():
    def fixed(batch):
        assert len(batch) == 10
        return {"x": batch + 0, "turned": batch[::-1] + 0}

    with pytest.warns(UserWarning, match=r"turned \("):
        found = hl.extract(fixed, EXAMPLES, batch_size=10)
    assert list(found) == ["x"]


def test_a_trial_leaves_the_random_generators_as_they_were():
    rng_before = np.random.get_state()[1].copy()
    hl.extract(lambda batch: {"x": batch * 1}, EXAMPLES)
    np.testing.assert_array_equal(np.random.get_state()[1], rng_before)
    with pytest.warns(UserWarning, match="other values at every run"):
        hl.extract(lambda batch: {"x": batch + np.random.default_rng().normal(size=batch.shape)}, EXAMPLES)


# --- Names


def test_names_and_globs_choose_layers():
    def run(batch):
        return {f"blocks.{i}.{part}": batch + i for i in range(3) for part in ("mlp", "attention")}

    assert list(hl.extract(run, EXAMPLES, layers="blocks.*.mlp")) == [f"blocks.{i}.mlp" for i in range(3)]
    assert list(hl.extract(run, EXAMPLES, layers=["input", "blocks.1.mlp"])) == ["input", "blocks.1.mlp"]
    with pytest.raises(KeyError, match=r"'blocks\.1\.mpl'.*did you mean blocks\.1\.mlp"):
        hl.extract(run, EXAMPLES, layers="blocks.1.mpl")
    with pytest.raises(KeyError, match=r"heads\.\*"):
        hl.extract(run, EXAMPLES, layers="heads.*")
    with pytest.raises(TypeError, match="known only when it has run, got a predicate"):
        hl.extract(run, EXAMPLES, layers=lambda name, layer: True)


def test_layers_that_come_and_go_are_left_out_or_refused():
    def run(batch):
        return {"always": batch} | ({"sometimes": batch} if len(batch) == 16 else {})

    with pytest.warns(UserWarning, match=r"sometimes \("):
        assert list(hl.extract(run, EXAMPLES, batch_size=16)) == ["always"]
    with pytest.raises(ValueError, match=r"layer 'sometimes' must have the examples .*: it runs 1 times"):
        hl.extract(run, EXAMPLES, layers="sometimes", batch_size=16)


# --- Data, rows, memory, stores


def test_texts_are_batched_here_and_told_apart():
    texts = [f"text {i}" for i in range(30)]
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        return {"length": np.array([[len(text), ord(text[-1])] for text in batch], dtype=float)}

    found = hl.extract(run, texts, batch_size=8, example_ids=[text.split()[1] for text in texts])
    assert found["length"].shape == (30, 2)
    assert sizes[0] == 8
    assert len(set(found.digests.tolist())) == 30
    assert found.example_ids[3] == "3"


def test_batches_of_any_kind_reach_the_function_as_they_are():
    seen = []

    def run(batch):
        seen.append(batch)
        return {"x": batch[0] * 1}

    labels = ["a", "b", "c", "d"]
    hl.extract(run, [(EXAMPLES[:4], labels)])
    assert seen[0][1] == labels


def test_activations_beyond_the_memory_are_refused_and_go_into_a_store(tmp_path):
    def wide(batch):
        return {"wide": np.repeat(batch, 100, axis=1)}

    with pytest.raises(ValueError, match=r"must fit in memory=10\.0 KiB, got about 93\.8 KiB"):
        hl.extract(wide, EXAMPLES, memory="10KiB", batch_size=8)
    found = hl.extract(wide, EXAMPLES, memory="10KiB", batch_size=8, out=tmp_path / "wide.zarr")
    np.testing.assert_array_equal(np.asarray(found["wide"]), np.repeat(EXAMPLES, 100, axis=1))


def test_a_store_is_continued_by_the_same_function_only(tmp_path):
    path, calls = tmp_path / "layers.zarr", []

    def function(factor):
        def run(batch):
            calls.append(len(batch))
            return {"x": batch * factor}

        return run

    hl.extract(function(2.0), EXAMPLES, out=path, batch_size=8, max_examples=16)
    calls.clear()
    whole = hl.extract(function(2.0), EXAMPLES, out=path, batch_size=8, max_examples=40, resume=True)
    assert sum(size for size in calls if size == 8) <= 5 * 8
    np.testing.assert_array_equal(np.asarray(whole["x"]), 2 * EXAMPLES)
    with pytest.raises(
        ValueError, match=r"must be continued as it was begun, with factor of .* 2\.0, got factor of .* 3\.0"
    ):
        hl.extract(function(3.0), EXAMPLES, out=path, batch_size=8, max_examples=40, resume=True)


def test_what_is_only_of_modules_is_refused():
    with pytest.raises(TypeError, match="got a list of numbers: convert it"):
        hl.extract(lambda batch: np.array(batch), [[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(TypeError, match="forward must be left out for a function and for ONNX"):
        hl.extract(hidden_and_output, EXAMPLES, forward=lambda model, batch: model(batch))
    with pytest.raises(ValueError, match="device must be left out for a function, got 'cuda'"):
        hl.extract(hidden_and_output, EXAMPLES, device="cuda")
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, .* got an int"):
        hl.extract(3, EXAMPLES)
    with pytest.raises(ValueError, match=r"a model's file must end in .*, got 'model\.bin'"):
        hl.extract("model.bin", EXAMPLES)


def test_two_functions_are_compared_in_a_stream():
    result = hl.compare_models(hidden_and_output, torch.nn.Linear(6, 3), EXAMPLES, batch_size=20)
    assert list(result.layer_a.values) == ["hidden", "output"]


# --- Without PyTorch


def test_functions_are_extracted_where_pytorch_is_not_installed(tmp_path):
    script = """
import sys
from pathlib import Path
class NotInstalled:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NotInstalled())
import numpy as np, homolog as hl
tokens = np.random.default_rng(0).normal(size=(12, 7, 4))
mask = (np.arange(7)[None] < np.array([7, 3, 5, 2] * 3)[:, None]).astype(int)
def run(batch):
    return {"tokens": batch["x"] * 2, "features": batch["x"].sum(1)}
for options in ({}, {"out": "layers.zarr"}, {"out": "layers.zarr", "resume": True}):
    found = hl.extract(run, {"x": tokens, "attention_mask": mask}, reduce="mean", batch_size=5, **options)
    expected = 2 * (tokens * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]
    np.testing.assert_allclose(np.asarray(found["tokens"]), expected, rtol=1e-6)
    assert found.digests is not None
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == "done\n", done.stderr
