"""Extraction: the rules, on models that break naive hooks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl


def convolutional():
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 2))


@pytest.fixture
def images():
    return torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_in_place_successors_change_nothing(images):
    model = convolutional().eval()
    taken = hl.extract(model, images, batch_size=4)
    with torch.no_grad():
        expected = model[0](images).flatten(1).numpy()
    np.testing.assert_allclose(taken["0"], expected, rtol=1e-5, atol=1e-6)
    assert taken["0"].min() < 0
    assert list(taken) == ["0", "1", "2", "3", "4"]


def test_training_mode_and_hooks_are_restored(images):
    model = convolutional().train()
    model[2].eval()
    before = model[2].running_mean.clone()
    hl.extract(model, images)
    assert model.training
    assert not model[2].training
    assert not model[0]._forward_hooks
    assert torch.equal(before, model[2].running_mean)
    with pytest.raises(RuntimeError):
        hl.extract(model, torch.zeros(3, 5))
    assert model.training
    assert not model[0]._forward_hooks


def test_reductions_of_maps(images):
    model = convolutional().eval()
    with torch.no_grad():
        maps = model[0](images)
    mean = hl.extract(model, images, layers="0", reduce="mean")["0"]
    np.testing.assert_allclose(mean, maps.mean(dim=(2, 3)).numpy(), rtol=1e-4, atol=1e-6)
    places = hl.extract(model, images, layers="0", reduce="positions")
    assert places["0"].shape == (10 * 36, 3)
    np.testing.assert_array_equal(places.positions[:37], [*range(36), 0])
    with pytest.raises(ValueError, match="no first position"):
        hl.extract(model, images, layers="0", reduce="first")


def test_shared_modules_are_numbered():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return (self.layer(self.layer(x)), {"extra": x})

    taken = hl.extract(Shared(), torch.ones(4, 3))
    assert list(taken) == ["layer", "layer#2"]
    assert list(hl.extract(Shared(), torch.ones(4, 3), layers=["layer#2", "output"])) == ["layer#2", "output"]


def test_masks_are_honoured():
    model = nn.Module()
    model.embed = nn.Embedding(9, 4)
    model.forward = lambda input_ids, attention_mask: model.embed(input_ids)
    batch = {"input_ids": torch.tensor([[1, 2, 0], [3, 4, 5]]), "attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]])}
    table = model.embed.weight.detach().numpy()

    def take(rule):
        return hl.extract(model, [batch], reduce=rule)["embed"]

    np.testing.assert_allclose(take("mean"), [table[[1, 2]].mean(0), table[[3, 4, 5]].mean(0)], rtol=1e-6)
    np.testing.assert_array_equal(take("last"), table[[2, 5]])
    np.testing.assert_array_equal(take("first"), table[[1, 3]])
    np.testing.assert_array_equal(take("positions"), table[[1, 2, 3, 4, 5]])
    with pytest.raises(ValueError, match="padding, which flatten would count"):
        take("flatten")


def test_half_precision_is_stored_as_float32(images):
    taken = hl.extract(convolutional().to(torch.bfloat16), images)
    assert {array.dtype for array in taken.values()} == {np.dtype("float32")}


def test_wrong_names_memory_and_shuffling_are_errors(images):
    model = convolutional()
    with pytest.raises(KeyError, match="unknown layer '7'"):
        hl.extract(model, images, layers="7")
    with pytest.raises(ValueError, match="must fit in memory"):
        hl.extract(model, images, memory="1kB")
    data = torch.utils.data.TensorDataset(images, torch.arange(10))
    shuffled = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
    with pytest.raises(ValueError, match="shuffle=False"):
        hl.extract(model, shuffled)
    taken = hl.extract(model, shuffled, example_ids=lambda batch: batch[1])
    order = np.argsort(taken.example_ids)
    np.testing.assert_allclose(taken.take(order)["4"], hl.extract(model, images)["4"], rtol=1e-4, atol=1e-5)
