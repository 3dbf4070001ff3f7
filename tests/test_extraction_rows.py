"""Which rows extraction takes, and who they are: padding on either side, positions that differ, everything that is digested."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl


class Tokens(nn.Module):
    """Puts out the place of every token, so that a row says where it was taken."""

    def __init__(self):
        super().__init__()
        self.places = nn.Identity()

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, bias=None):
        places = torch.arange(float(input_ids.shape[1])).expand(input_ids.shape)
        return self.places(torch.stack([places, input_ids.to(places.dtype)], dim=2))


MASKS = {
    "right": [1, 1, 1, 0, 0],
    "left": [0, 0, 1, 1, 1],
    "both sides": [0, 1, 1, 1, 0],
    "hole": [1, 0, 0, 1, 0],
    "hole and left": [0, 1, 0, 0, 1],
    "one token": [0, 0, 1, 0, 0],
    "none": [1, 1, 1, 1, 1],
}


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
def test_tokens_are_found_wherever_the_padding_is(dtype):
    """Counted by hand: the first and the last place that the mask keeps, the mean over those kept, and each of them."""
    mask = torch.tensor(list(MASKS.values())).to(dtype)
    batch = {"input_ids": torch.arange(35).reshape(7, 5) + 100, "attention_mask": mask}

    def places(rule, column=0):
        return hl.extract(Tokens(), [batch], layers="places", reduce=rule)["places"][:, column].tolist()

    assert places("first") == [0, 2, 1, 0, 1, 2, 0]
    assert places("last") == [2, 4, 3, 3, 4, 2, 4]
    assert places("last", 1) == [102, 109, 113, 118, 124, 127, 134]
    assert places("mean") == [1, 3, 2, 1.5, 2.5, 2, 2]
    every = hl.extract(Tokens(), [batch], layers="places", reduce="positions")
    kept = [0, 1, 2, 2, 3, 4, 1, 2, 3, 0, 3, 1, 4, 2, 0, 1, 2, 3, 4]
    assert every["places"][:, 0].tolist() == kept
    assert every.positions.tolist() == kept
    assert every.example_ids.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 2 + [4] * 2 + [5] + [6] * 5


ACROSS = {
    "fewer later": (nn.AvgPool2d(2), r"layer '1' must give as many rows as layer '0' \(64\), got 16"),
    "more later": (nn.Upsample(scale_factor=2), r"layer '1' must give as many rows as layer '0' \(64\), got 256"),
    "one": (nn.AdaptiveAvgPool2d(1), r"layer '1' must give as many rows as layer '0' \(64\), got 4"),
}


@pytest.mark.parametrize("case", ACROSS)
@pytest.mark.parametrize("limit", [None, 3])
def test_positions_of_layers_must_agree(case, limit, tmp_path):
    """Else rows would be cut, and those that are left belong to other examples and places."""
    layer, message = ACROSS[case]
    model = nn.Sequential(nn.Conv2d(1, 2, 1), layer)
    images = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    if limit is not None:
        message = (
            message.replace("64", "48").replace("got 16", "got 12").replace("256", "192").replace("got 4", "got 3")
        )
    for out in (None, tmp_path / "a.zarr"):
        with pytest.raises(ValueError, match=message):
            hl.extract(model, images, reduce="positions", max_examples=limit, out=out)
    # Layers of as many places may be of any kind, and each alone.
    for name in ("0", "1"):
        assert hl.extract(model, images, layers=name, reduce="positions").n % 4 == 0
    assert len(hl.extract(model, images, reduce="mean")) == 2


def test_positions_must_agree_in_every_batch():
    """The sizes of a batch of images need not be those of the first."""

    class Pool(nn.Module):
        def forward(self, x):
            return nn.functional.adaptive_avg_pool2d(x, 4)

    batches = [torch.ones(2, 1, 4, 4), torch.ones(2, 1, 6, 6)]
    with pytest.raises(ValueError, match=r"layer '1' must give as many rows as layer '0' \(72\), got 32"):
        hl.extract(nn.Sequential(nn.Conv2d(1, 2, 1), Pool()), batches, reduce="positions")


@pytest.mark.parametrize("changed", ["input_ids", "token_type_ids", "attention_mask", "bias"])
def test_whatever_reaches_the_model_is_digested(changed):
    """Rows that differ in any one of the tensors of a mapping differ in their digest, and no others do."""
    generator = torch.Generator().manual_seed(0)
    batch = {
        "input_ids": torch.randint(1, 90, (6, 4), generator=generator),
        "token_type_ids": torch.randint(0, 2, (6, 4), generator=generator),
        "attention_mask": torch.ones(6, 4, dtype=torch.int64),
        "bias": torch.randn(6, generator=generator),
    }
    other = {key: value.clone() for key, value in batch.items()}
    for row in (1, 4):
        other[changed].reshape(6, -1)[row, 0] = (
            0 if changed == "attention_mask" else other[changed].reshape(6, -1)[row, 0] + 1
        )

    def digests(data):
        return hl.extract(Tokens(), [data], layers="places", reduce="mean").digests

    first, second = digests(batch), digests(other)
    assert (first != second).tolist() == [False, True, False, False, True, False]
    np.testing.assert_array_equal(first, digests({key: batch[key].clone() for key in reversed(batch)}))
    assert len(set(first.tolist())) == 6


def test_rows_shuffled_in_one_tensor_of_several_are_noticed():
    ids = torch.ones(5, 3, dtype=torch.int64)  # alike in all rows
    types = torch.arange(15).reshape(5, 3)
    taken = [
        hl.extract(Tokens(), [{"input_ids": ids, "token_type_ids": some}], layers="places", reduce="mean")
        for some in (types, types.flip(0))
    ]
    with pytest.raises(ValueError, match="the same inputs in another order"):
        hl.compare(*taken)


@pytest.mark.parametrize("reduce", ["flatten", "positions"])
@pytest.mark.parametrize("stored", [False, True], ids=["in memory", "in a store"])
@pytest.mark.parametrize("library", [torch.as_tensor, np.asarray], ids=["torch", "numpy"])
def test_a_loader_may_reuse_its_buffers(reduce, stored, library, tmp_path):
    """Inputs, masks and ids are written over by the next batch."""
    data = np.arange(24.0, dtype="float32").reshape(8, 3, 1)

    def batches(fresh):
        inputs, ids = library(np.empty((2, 3, 1), dtype="float32")), library(np.empty(2, dtype="int64"))
        for start in range(0, 8, 2):
            if fresh:
                inputs, ids = library(data[start : start + 2].copy()), library(np.arange(start, start + 2) * 10)
            inputs[:] = library(data[start : start + 2].copy())
            ids[:] = library(np.arange(start, start + 2) * 10)
            yield {"input": inputs, "id": ids}

    model = nn.Sequential(nn.Identity())
    out = {"out": tmp_path / "a.zarr"} if stored else {}
    found = hl.extract(model, batches(fresh=False), reduce=reduce, example_ids="id", **out)
    expected = hl.extract(model, batches(fresh=True), reduce=reduce, example_ids="id")
    times = 3 if reduce == "positions" else 1
    assert found.example_ids.tolist() == [10 * (i // times) for i in range(8 * times)]
    np.testing.assert_array_equal(np.asarray(found["0"]), data.reshape(8 * times, -1))
    np.testing.assert_array_equal(found.digests, expected.digests)
