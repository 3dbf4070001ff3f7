"""Functions that change their types, masks, names and arrays: no wrong number without a word."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import homolog as hl

EXAMPLES = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
TOKENS = np.random.default_rng(2).normal(size=(12, 7, 4)).astype(np.float32)
MAPS = np.random.default_rng(3).normal(size=(10, 3, 4, 5)).astype(np.float32)


def test_a_store_refuses_batches_that_its_first_type_cannot_hold(tmp_path):
    x = np.r_[np.ones((8, 1)), np.full((8, 1), 2.5)]

    def run(batch):
        return {"x": batch.astype(int) if (batch == np.rint(batch)).all() else batch, "y": batch}

    np.testing.assert_array_equal(hl.extract(run, x, batch_size=4)["x"], x)
    with pytest.raises(
        ValueError, match=r"layer 'x' must have one type in all batches .int64 in the first., got float64"
    ):
        hl.extract(run, x, batch_size=4, out=tmp_path / "x.zarr")


def test_the_mask_that_the_caller_says_is_used_and_not_that_of_the_layer():
    kept = np.arange(7)[None] < np.full((12, 1), 4)

    def run(batch):
        return {"h": hl.Layer(batch["x"] * 1, mask=batch["kept"])}

    data = {"x": TOKENS, "kept": kept.astype(int)}
    whole = hl.extract(run, data, reduce="mean", mask={"**": None})["h"]
    np.testing.assert_allclose(whole, TOKENS.mean(1), rtol=1e-5)
    first = hl.extract(run, data, reduce="mean", mask=lambda batch: np.arange(7)[None] < np.ones((len(batch["x"]), 1)))
    np.testing.assert_allclose(first["h"], TOKENS[:, 0], rtol=1e-6)

    def key_padding_mask(batch):  # true where a position counts, whatever it is called
        return batch["kept"] != 0

    own = hl.extract(lambda batch: {"h": batch["x"] * 1}, data, reduce="mean", mask=key_padding_mask)
    np.testing.assert_allclose(own["h"], TOKENS[:, :4].mean(1), rtol=1e-5)


@pytest.mark.parametrize("array", [EXAMPLES, TOKENS, MAPS])
def test_a_mask_that_cannot_be_used_is_refused(array):
    kind = "features" if array is TOKENS else None
    with pytest.raises(ValueError, match=r"must have three axes, .* to have a mask of its own"):
        hl.extract(lambda batch: {"x": hl.Layer(batch * 1, mask=np.ones((len(batch), 7)), kind=kind)}, array)


def test_names_that_end_as_calls_do_are_refused():
    with pytest.raises(ValueError, match="must not end the name of a layer in # and a number"):
        hl.extract(lambda batch: {"h#2": 2 * batch, "h": batch}, EXAMPLES)
    with pytest.raises(ValueError, match=r"got 'parts\.h#3'"):
        hl.extract(lambda batch: {"parts": {"h#3": batch}}, EXAMPLES)


def test_a_reduction_in_place_changes_neither_data_nor_other_layers():
    def twice(output, mask):
        output *= 2
        return output[:, 0]

    data = TOKENS.copy()
    found = hl.extract(lambda batch: {"a": batch, "b": batch}, data, layers=["input", "a", "b"], reduce=twice)
    np.testing.assert_array_equal(data, TOKENS)
    for layer in found.values():
        np.testing.assert_array_equal(layer, 2 * TOKENS[:, 0])
    with pytest.raises(ValueError, match="reduce must leave the output of layer '0' as it is"):
        hl.extract(torch.nn.Sequential(torch.nn.ReLU()), torch.as_tensor(data), reduce=twice)


def test_values_beyond_the_type_to_store_are_refused():
    for dtype, value in (("float16", 1e5), ("float32", 1e39)):
        with pytest.raises(ValueError, match=f"must fit into dtype='{dtype}'"):
            hl.extract(lambda batch, value=value: {"x": batch.astype(float) * 0 + value}, EXAMPLES, dtype=dtype)


def test_a_list_of_vectors_is_no_list_of_batches():
    with pytest.raises(TypeError, match="got a list of 40 vectors, which look like one example each"):
        hl.extract(lambda batch: {"x": batch}, list(EXAMPLES))
