"""Extraction: the rules, on models that break naive hooks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl


def convolutional():
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 2))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


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


def dense():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_layers_by_glob_predicate_and_name_in_order_of_execution():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(4, 2)
            self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(3, 4)), nn.Sequential(nn.Linear(4, 4))])

        def forward(self, x):
            return self.last(self.blocks[1](self.blocks[0](x)))

    model, x = Backwards(), torch.ones(5, 3)
    assert list(hl.extract(model, x)) == ["blocks.0.0", "blocks.1.0", "last"]
    assert list(hl.extract(model, x, layers=["last", "blocks.*"])) == ["blocks.0", "blocks.1", "last"]
    assert list(hl.extract(model, x, layers="blocks.**")) == ["blocks.0.0", "blocks.0", "blocks.1.0", "blocks.1"]
    wide = hl.extract(model, x, layers=lambda name, module: getattr(module, "in_features", 0) == 4)
    assert list(wide) == ["blocks.1.0", "last"]
    np.testing.assert_array_equal(hl.extract(model, x, layers="input")["input"], x)
    with pytest.raises(KeyError, match=r"unknown layer 'block.1.0', did you mean blocks.1.0"):
        hl.extract(model, x, layers="block.1.0")
    with pytest.raises(KeyError, match=r"unknown layer 'block.1.0', did .*; unknown, too, is 'tail\.\*'\."):
        hl.extract(model, x, layers=["block.1.0", "last", "tail.*"])
    with pytest.raises(ValueError, match="a predicate that is true for none"):
        hl.extract(model, x, layers=lambda name, module: False)


def test_every_kind_of_data_gives_the_same():
    model, x = dense(), torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    fixed = x.numpy().copy()
    fixed.flags.writeable = False
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, torch.arange(10)), batch_size=4)
    expected = hl.extract(model, x, batch_size=4)
    kinds = [fixed, fixed.astype(float), loader, (x[i : i + 4] for i in range(0, 10, 4)), [(x[:4],), [x[4:]]]]
    kinds += [{"input": x}, [{"input": x[:1]}, {"input": x[1:]}]]
    for data in kinds:
        taken = hl.extract(model, data, batch_size=4)
        np.testing.assert_allclose(taken["2"], expected["2"], rtol=1e-6)
    once = iter([x])
    hl.extract(model, once)
    with pytest.raises(ValueError, match="at least one batch, got none: an iterator may have been consumed before"):
        hl.extract(model, once)


def test_limit_takes_no_more_batches_than_it_needs():
    def batches():
        for start in (0, 4):
            yield torch.arange(start, start + 4.0)[:, None].expand(4, 3)
        raise AssertionError("a third batch was read")

    taken = hl.extract(dense(), batches(), layers="input", max_examples=6)
    np.testing.assert_array_equal(taken["input"][:, 0], np.arange(6.0))
    places = hl.extract(dense(), torch.ones(4, 5, 3), layers=["0"], reduce="positions", max_examples=2)
    assert places.n == 10


def test_ids_come_with_the_batch_or_beside_the_data():
    model, x = dense(), torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    beside = hl.extract(model, x, example_ids=[f"image {i}" for i in range(6)], batch_size=4)
    assert beside.example_ids[5] == "image 5"
    keyed = hl.extract(model, [{"input": x, "id": torch.arange(6)}], example_ids="id")
    assert keyed.example_ids.tolist() == list(range(6))
    with pytest.raises(ValueError, match=r"one id per example \(6\), got 5"):
        hl.extract(model, x, example_ids=range(5))
    with pytest.raises(KeyError, match="example_ids='name' must be a key of every batch, got keys input"):
        hl.extract(model, [{"input": x}], example_ids="name")


def test_shuffled_inputs_are_noticed_by_their_digests():
    model, x = dense(), torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    first, second = hl.extract(model, x), hl.extract(model, x.flip(0))
    with pytest.raises(ValueError, match="the same inputs in another order"):
        hl.compare(first, second)
    sorted_again = hl.compare(first, second.take(slice(None, None, -1)), measures="semi_match", pairs="same_name")
    np.testing.assert_allclose(np.diag(sorted_again.semi_match), 1)


def test_a_function_reduces_and_a_mapping_chooses(images):
    model = convolutional()
    taken = hl.extract(model, images, reduce={"0": lambda output, mask: output.amax(dim=(2, 3)), "1": "mean"})
    assert [array.shape[1] for array in taken.values()] == [3, 3, 108, 108, 2]
    with pytest.raises(ValueError, match=r"must return a tensor \(10 examples, features\) for layer '0', got shape"):
        hl.extract(model, images, layers="0", reduce=lambda output, mask: output)


def test_batches_of_other_lengths_and_more_axes_are_errors():
    model = nn.Sequential(nn.Linear(3, 4))
    with pytest.raises(ValueError, match=r"as many features in every batch \(20 in the first\), got 28 in batch 2"):
        hl.extract(model, [torch.ones(2, 5, 3), torch.ones(2, 7, 3)])
    assert hl.extract(model, [torch.ones(2, 5, 3), torch.ones(2, 7, 3)], reduce="mean")["0"].shape == (4, 4)
    with pytest.raises(ValueError, match=r"0 \(5 axes, shape \(2, 5, 6, 7, 4\)\).* pass reduce=function"):
        hl.extract(model, torch.ones(2, 5, 6, 7, 3))


def test_dtype_and_device():
    model, x = dense(), torch.ones(5, 3)
    assert hl.extract(model, x, dtype="float16", device="cpu")["2"].dtype == np.float16
    assert hl.extract(model.double(), x)["2"].dtype == np.float64
    model[2].to("meta")
    with pytest.raises(ValueError, match="device must be left out for a model on several devices"):
        hl.extract(model, x, device="meta")


def test_memory_is_asked_for_after_the_first_batch():
    seen = []

    def batches():
        for i in range(100):
            seen.append(i)
            yield torch.ones(10, 3)

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(1000, 3)), batch_size=10)
    with pytest.raises(ValueError, match=r"got about 39\.1 KiB for 1000 examples \(largest: 0 15\.6 KiB, 1 15\.6 KiB"):
        hl.extract(dense(), loader, memory="20kB")
    with pytest.raises(ValueError, match="must fit in memory"):
        hl.extract(dense(), batches(), memory="1kB")
    assert seen == [0, 1, 2]
