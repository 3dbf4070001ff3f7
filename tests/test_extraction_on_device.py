"""Activations that stay where the model puts them out."""

from __future__ import annotations

import copy
import pickle
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from device_waits import CountedWaits, on_a_device
from torch import nn

import homolog as hl
from homolog import devices
from homolog.diagnostics import ExtractionWarning
from homolog.extraction import growing_rows, in_memory, stored_features

DIGEST = 2
"""A call that brings a batch to the host, and one that makes it an array."""
IMAGES = torch.randn(40, 3, 9, 9, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 5),
    )


def test_layers_are_tensors_with_the_numbers_of_arrays(model):
    for options in ({}, {"reduce": "mean", "layers": ["0", "1", "2"]}, {"dtype": "float16"}, {"max_examples": 13}):
        expected = hl.extract(model, IMAGES, batch_size=8, **options)
        found = hl.extract(model, IMAGES, batch_size=8, keep="device", **options)
        assert list(found) == list(expected)
        for name, x in found.items():
            assert isinstance(x, torch.Tensor)
            np.testing.assert_array_equal(x.numpy(), expected[name])
            assert x.numpy().dtype == expected[name].dtype
            assert not x.requires_grad
        np.testing.assert_array_equal(found.digests, expected.digests)
        assert found.modules == expected.modules


def test_half_precision_is_kept_as_float32(model):
    half = nn.Sequential(nn.Linear(4, 6), nn.ReLU()).to(torch.bfloat16)
    found = hl.extract(half, torch.randn(9, 4), keep="device")
    assert {x.dtype for x in found.values()} == {torch.float32}


def test_batches_of_an_unknown_number_grow(model):
    batches = [IMAGES[start : start + 7] for start in range(0, 40, 7)]
    found = hl.extract(model, iter(batches), keep="device")
    expected = hl.extract(model, IMAGES)
    for name, x in found.items():
        assert x.shape == expected[name].shape
        np.testing.assert_allclose(x.numpy(), expected[name], atol=1e-6)


def test_positions_are_rows(model):
    network = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6))
    data = torch.randn(10, 5, 4, generator=torch.Generator().manual_seed(1))
    found = hl.extract(network, data, reduce="positions", batch_size=4, keep="device")
    expected = hl.extract(network, data, reduce="positions", batch_size=4)
    for name, x in found.items():
        np.testing.assert_array_equal(x.numpy(), expected[name])
    np.testing.assert_array_equal(found.positions, expected.positions)


def test_what_runs_later_changes_nothing(model):
    found = hl.extract(model, IMAGES, layers=["1"], keep="device")
    with torch.no_grad():
        expected = model[1].eval()(model[0](IMAGES)).flatten(1)
    torch.testing.assert_close(found["1"], expected)  # before the ReLU, which works in place


def test_a_batch_that_is_not_tried_waits_for_nothing(model):
    def waits(batches: int, **options) -> int:
        data = [torch.cat([IMAGES, IMAGES])[4 * i : 4 * i + 4] for i in range(batches)]
        with on_a_device(), CountedWaits() as counted:
            hl.extract(model, data, progress=False, **options)
        return counted.total

    # The second, fourth, eighth and sixteenth batch are tried; every batch is digested on the host, where it came from.
    assert waits(15, keep="device") - waits(9, keep="device") == 6 * DIGEST
    assert waits(15) - waits(9) == 6 * (DIGEST + 2 * len(model))


def test_what_does_not_fit_comes_to_the_host(model):
    expected = hl.extract(model, IMAGES, batch_size=8)
    with pytest.warns(
        ExtractionWarning, match=r"kept on the host, since about .* do not fit into the 20\.0 KiB for them on cpu"
    ):
        found = hl.extract(model, IMAGES, batch_size=8, keep="device", memory=20 * 1024)
    for name, x in found.items():
        assert isinstance(x, np.ndarray)
        np.testing.assert_array_equal(x, expected[name])


def test_free_memory_counts_where_none_is_named(model, monkeypatch):
    monkeypatch.setattr(in_memory, "free_memory", lambda device: 30_000)
    batches = [IMAGES[start : start + 8] for start in range(0, 40, 8)]
    with pytest.warns(ExtractionWarning, match="kept on the host"):
        found = hl.extract(model, batches, keep="device")
    expected = hl.extract(model, IMAGES, batch_size=8)
    for name, x in found.items():
        np.testing.assert_array_equal(x, expected[name])


def test_rows_come_to_the_host_when_the_memory_is_used_up(model, monkeypatch):
    append, left = growing_rows.GrowingTensor.append, [9]

    def used_up(self, more):
        left[0] -= 1
        if left[0] == 0:
            raise torch.cuda.OutOfMemoryError("no memory left")
        append(self, more)

    monkeypatch.setattr(growing_rows.GrowingTensor, "append", used_up)
    with pytest.warns(ExtractionWarning, match="since the memory of cpu was used up"):
        found = hl.extract(model, IMAGES, batch_size=8, keep="device")
    expected = hl.extract(model, IMAGES, batch_size=8)
    for name, x in found.items():
        np.testing.assert_array_equal(x, expected[name])


def test_comparing_saving_and_pickling(model, tmp_path):
    found, expected = hl.extract(model, IMAGES, keep="device"), hl.extract(model, IMAGES)
    result = hl.compare(found, measures="cka(estimator=debiased)")
    np.testing.assert_array_equal(
        result.to_array(), hl.compare(expected, measures="cka(estimator=debiased)").to_array()
    )
    for name in ("a.zarr", "a.npz", "a.safetensors"):
        hl.save(found, tmp_path / name)
        opened = hl.open(tmp_path / name)
        for layer, x in expected.items():
            np.testing.assert_array_equal(np.asarray(opened[layer]), x)
    again = pickle.loads(pickle.dumps(found))
    for layer, x in expected.items():
        np.testing.assert_array_equal(again[layer].numpy(), x)


def test_a_function_that_puts_out_arrays_gives_arrays():
    found = hl.extract(lambda batch: {"double": 2 * batch}, np.ones((5, 2)), keep="device")
    assert isinstance(found["double"], np.ndarray)


def test_options_that_contradict_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match="keep must be 'host' or 'device', got 'gpu'"):
        hl.extract(model, IMAGES, keep="gpu")
    for options in ({"out": tmp_path / "a.zarr"}, {"sketch": 16}):
        with pytest.raises(ValueError, match=f"got {next(iter(options))}= as well"):
            hl.extract(model, IMAGES, keep="device", **options)


def test_a_type_that_is_too_narrow_is_refused():
    network = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="must fit into dtype='float16'"):
        hl.extract(network, 1e6 * torch.randn(5, 3), dtype="float16", keep="device")


class Calls:
    """Takes the place of torch.cuda, and notes in which order it is used."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def stream(self, queue):
        self.made.append("into the queue")
        return nullcontext()

    def current_stream(self, device):
        own = SimpleNamespace()
        own.wait_stream = lambda queue: self.made.append("the model waits for the copy")
        return own

    def synchronize(self) -> None:
        self.made.append("the host waits for the copy")


@pytest.mark.parametrize("given", [False, True], ids=["of the host", "of memory that stays"])
def test_batches_are_copied_beside_the_model(monkeypatch, given):
    calls, place = Calls(), SimpleNamespace(type="cuda")
    monkeypatch.setattr(torch.cuda, "stream", calls.stream)
    monkeypatch.setattr(torch.cuda, "current_stream", calls.current_stream)
    monkeypatch.setattr(devices, "_queue_of", lambda device, direction: calls)
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda x: given)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda x: (calls.made.append("fixed"), x)[1])
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda x, own: calls.made.append("kept for the model"))

    def to(x, *where, **options):
        if where == (place,):
            assert options == {"non_blocking": True}
            calls.made.append("copied")
        return x

    monkeypatch.setattr(torch.Tensor, "to", to)
    x = torch.ones(3)
    assert devices.sent(x, place, torch.float16) is x
    own, again = ([], ["the host waits for the copy"]) if given else (["fixed"], [])
    assert calls.made == [
        "into the queue",
        *own,
        "copied",
        *again,
        "the model waits for the copy",
        "kept for the model",
    ]


def test_what_stays_on_the_host_or_is_no_plain_tensor_is_moved_as_ever():
    x = torch.ones(3)
    assert devices.sent(x, torch.device("cpu")) is x
    assert devices.sent(x, torch.device("meta"), torch.float16).dtype == torch.float16
    assert devices.sent(torch.eye(3).to_sparse(), torch.device("cpu")).is_sparse


@pytest.mark.parametrize("kind", ["maps", "tokens"])
def test_two_models_wait_once_for_several_batches(model, kind):
    def waits(batches: int) -> int:
        if kind == "maps":
            models, data = [model, copy.deepcopy(model)], [IMAGES[4 * (i % 9) :][:4] for i in range(batches)]
        else:
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
            models, data = [layer, copy.deepcopy(layer)], [torch.randn(4, 5, 8) for _ in range(batches)]
        with on_a_device(), CountedWaits() as counted:
            hl.compare_models(*models, data, progress=False)
        return counted.total

    # From the seventeenth batch to the thirty-first none is tried; terms are read after sixteen.
    each = (waits(31) - waits(17)) / 14
    # Of each model its data are looked at twice as they came, and the lengths of its tokens are read, all layers together.
    tokens = 2 * (2 * 2 + 2) if kind == "tokens" else 0
    assert each == tokens


def test_gram_matrices_are_exact_inside_autocast():
    network = nn.Sequential(nn.Identity())
    data = torch.randn(32, 50, generator=torch.Generator().manual_seed(0)) + 3
    expected = hl.compare_models(network, nn.Sequential(nn.Tanh()), [data], layers_a="0", layers_b="0")
    with torch.autocast("cpu", torch.bfloat16):
        found = hl.compare_models(network, nn.Sequential(nn.Tanh()), [data], layers_a="0", layers_b="0")
    np.testing.assert_array_equal(found.to_array(), expected.to_array())


class Queue:
    """A queue of copies that does nothing until somebody waits for it."""

    def __init__(self) -> None:
        self.copies, self.waited = [], 0

    def wait_stream(self, own) -> None:
        self.waited += 1

    def synchronize(self) -> None:
        for here, there in self.copies:
            here.copy_(there)
        self.copies.clear()


class Late(torch.Tensor):
    """A tensor of the host into which numbers come when its queue is waited for."""

    def copy_(self, there, non_blocking=False):
        if not non_blocking:
            return super().copy_(there)
        Late.queue.copies.append((self, there))
        return self


@pytest.fixture
def queue(monkeypatch) -> Queue:
    Late.queue = Queue()
    monkeypatch.setattr(devices, "_queue_of", lambda device, direction: Late.queue)
    monkeypatch.setattr(devices, "_fixed_like", lambda x: torch.full_like(x, -7).as_subclass(Late))
    monkeypatch.setattr(torch.cuda, "stream", lambda queue: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda x, queue: None)
    monkeypatch.setattr(stored_features, "is_on_gpu", lambda x: isinstance(x, torch.Tensor))
    return Late.queue


@pytest.mark.parametrize("options", [{}, {"dtype": "float64"}, {"max_examples": 13}], ids=str)
def test_layers_are_copied_while_the_model_runs_on(model, monkeypatch, queue, options):
    found = hl.extract(model, IMAGES, batch_size=8, **options)
    assert not queue.copies
    assert queue.waited == len(model) * -(-len(found["0"]) // 8)
    monkeypatch.setattr(stored_features, "is_on_gpu", lambda x: False)
    for name, x in hl.extract(model, IMAGES, batch_size=8, **options).items():
        assert type(found[name]) is np.ndarray
        np.testing.assert_array_equal(found[name], x)


def test_no_more_is_on_the_way_than_memory_that_stays_is_wanted(model, monkeypatch, queue):
    monkeypatch.setattr(stored_features, "MOST_ON_THE_WAY", 8 * 4 * 300)  # the first layer alone
    found = hl.extract(model, IMAGES, batch_size=8)
    assert 0 < queue.waited < len(model) * 5
    monkeypatch.setattr(stored_features, "is_on_gpu", lambda x: False)
    for name, x in hl.extract(model, IMAGES, batch_size=8).items():
        np.testing.assert_array_equal(found[name], x)


def test_a_store_is_written_from_layers_on_the_way(model, monkeypatch, queue, tmp_path):
    found = hl.extract(model, IMAGES, batch_size=8, out=tmp_path / "a.zarr")
    monkeypatch.setattr(stored_features, "is_on_gpu", lambda x: False)
    for name, x in hl.extract(model, IMAGES, batch_size=8).items():
        np.testing.assert_array_equal(found[name][:], x)


def test_a_shortage_during_a_comparison_says_what_to_do(monkeypatch):
    def short(*_):
        raise torch.cuda.OutOfMemoryError("no memory left")

    monkeypatch.setattr("homolog.blocks.products.products_of_tiles", short)
    rng = torch.Generator().manual_seed(0)
    with on_a_device(), pytest.raises(torch.cuda.OutOfMemoryError) as raised:
        hl.compare({"wide": torch.randn(20, 50, generator=rng)}, {"wide": torch.randn(20, 50, generator=rng)})
    assert "pass a smaller memory=" in raised.value.__notes__[0]
