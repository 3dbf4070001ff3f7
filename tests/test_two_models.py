"""Two models in one pass over the same batches give what their layers give when they are extracted first."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from streamed_results import DEBIASED, FORMS, assert_results_agree
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import homolog as hl


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        yield


def network(seed: int, inplace: bool = False) -> nn.Module:
    """Two linear layers; in place, the first of all works on the data themselves."""
    torch.manual_seed(seed)
    first = [nn.ReLU(inplace=True)] if inplace else []
    return nn.Sequential(*first, nn.Linear(6, 9), nn.ReLU(inplace=inplace), nn.Linear(9, 7), nn.Tanh()).train()


def inputs(n: int = 203) -> torch.Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(1))


def test_models_exactly_as_extracted(tmp_path):
    a, b, data = network(0), network(1), inputs()
    expected = hl.compare(hl.extract(a, data), hl.extract(b, data), measures=FORMS)
    found = hl.compare_models(a, b, data, exact=True, measures=FORMS)
    assert_results_agree(found, expected, rtol=1e-6, atol=1e-7)
    assert (found.attrs["model_a"], found.attrs["model_b"]) == ("Sequential (a)", "Sequential (b)")
    found.to_netcdf(tmp_path / "result.nc")
    assert a.training
    assert not any(module._forward_hooks for module in a.modules())


@pytest.mark.parametrize("inplace", [False, True])
def test_batches_are_those_of_a_user_loop(inplace):
    """Whatever a model does to its input, the other model and the caller's data see nothing of it."""
    a, b, data = network(0, inplace), network(1, inplace), inputs()
    batches = list(data.split(50))  # the last one has three rows, and joins the one before it
    names = (["1", "2", "4"], ["3"]) if inplace else (["0", "1", "3"], ["2"])
    found = hl.compare_models(a, b, batches, layers_a=names[0], layers_b=names[1])
    np.testing.assert_array_equal(data, inputs())
    state = hl.MinibatchHSIC()
    for x in inputs().split(50):
        with torch.no_grad():
            taken = [plain_layers(network(seed), x.relu() if inplace else x) for seed in (0, 1)]
        state.update(
            {name: taken[0][layer] for name, layer in zip(names[0], (0, 1, 3), strict=True)}, {names[1][0]: taken[1][2]}
        )
    expected = state.finalise()
    assert int(found.attrs["n_batches"]) == 4
    for name in expected.data_vars:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)


def plain_layers(model: nn.Sequential, x: torch.Tensor) -> list[np.ndarray]:
    """What the layers put out, without homolog."""
    found = []
    for layer in model:
        x = layer(x)
        found.append(x.numpy().copy())
    return found


def test_the_same_model_runs_once():
    model, seen = network(0), []
    model.register_forward_hook(lambda module, arguments, output: seen.append(len(output)))
    found = hl.compare_models(model, model, inputs(), batch_size=64)
    # Three at a time are run again, to prove that rows are examples.
    assert [size for size in seen if size > 3] == [64, 64, 64, 11]
    assert int(found.attrs["same_model"]) == 1
    np.testing.assert_allclose(np.diag(found[DEBIASED]), 1, rtol=1e-6)
    seen.clear()
    other = hl.compare_models(model, model, inputs(), layers_a=["0"], layers_b=["0", "3"], batch_size=64)
    assert sum(size for size in seen if size > 3) == 203
    assert dict(other.sizes) == {"layer_a": 1, "layer_b": 2}
    np.testing.assert_allclose(other[DEBIASED][0, 0], 1, rtol=1e-6)
    np.testing.assert_allclose(other[DEBIASED][0, 1], found[DEBIASED].sel(layer_a="0", layer_b="3"), rtol=1e-5)


def test_more_passes_take_noise_away():
    a, b, data = network(0), network(1), inputs(400)
    one, many = (hl.compare_models(a, b, data, batch_size=40, passes=passes) for passes in (1, 12))
    exact = hl.compare_models(a, b, data, exact=True, measures=DEBIASED)
    assert float(abs(many - exact)[DEBIASED].mean()) < float(abs(one - exact)[DEBIASED].mean())
    assert (int(many.attrs["n_passes"]), int(many.attrs["n_batches"])) == (12, 120)
    assert float((many - one)[f"{DEBIASED}_se"].mean()) < 0
    assert hl.compare_models(a, b, data, batch_size=40, passes=2, rng=3).identical(
        hl.compare_models(a, b, data, batch_size=40, passes=2, rng=3)
    )


def test_two_kinds_of_data_limits_and_loaders():
    a, b, data = network(0), nn.Sequential(nn.Flatten(), network(0)), inputs()
    pictures = data.reshape(-1, 2, 3)
    found = hl.compare_models(a, b, data, pictures, layers_a=["3"], layers_b=["1.3"], max_examples=100, batch_size=30)
    np.testing.assert_allclose(found[DEBIASED], 1, rtol=1e-5)
    assert int(found.attrs["n_examples"]) == 100
    loader = DataLoader(TensorDataset(data), batch_size=50, shuffle=True, generator=torch.Generator().manual_seed(0))
    shuffled = hl.compare_models(a, network(1), loader, passes=2)
    assert int(shuffled.attrs["n_examples"]) == 203
    with pytest.raises(ValueError, match="a DataLoader that shuffles"):
        hl.compare_models(a, b, loader, loader)
    with pytest.raises(ValueError, match="data_b must have as many batches as data"):
        hl.compare_models(a, a, data.split(50), data[:100].split(50))
    with pytest.raises(ValueError, match="data_b must hold the same examples as data, got 40 in batch 1 for 50"):
        hl.compare_models(a, a, data[:200].split(50), data.split(40))
    with pytest.raises(ValueError, match=r"data_b must hold the same examples as data \(203 rows\), got 7 rows"):
        hl.compare_models(a, b, data, pictures[:7])
    with pytest.raises(ValueError, match="exact values need one pass"):
        hl.compare_models(a, b, data, exact=True, passes=2)
    with pytest.raises(ValueError, match="data must hold at least one batch, got none"):
        hl.compare_models(a, b, iter([]))
    with pytest.raises(KeyError, match="unknown layer"):
        hl.compare_models(a, b, data, layers_a="head")
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module"):
        hl.compare_models(a, "resnet18", data)
